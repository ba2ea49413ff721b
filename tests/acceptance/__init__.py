"""What a person at the terminal or a client over HTTP sees."""
