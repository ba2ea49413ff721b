"""The running system: processes, settings, command line, and the adapters behind every port."""
