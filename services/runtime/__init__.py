"""What a processor needs to run: clock, ids, positions, outbox, relay."""
