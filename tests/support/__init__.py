"""What several tests share: servers, clients, data."""
