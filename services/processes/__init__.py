"""One module per process that can be started."""
