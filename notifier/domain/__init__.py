"""The pure part of notifier: no I/O, no clock, no ids drawn."""
