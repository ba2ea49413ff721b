"""What every event log must do, asked of both adapters."""
