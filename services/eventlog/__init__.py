"""The event log: its port, and the embedded and the Kafka adapter."""
