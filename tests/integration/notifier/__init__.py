"""The notifier on real databases and a real mail server."""
