"""The notifier's pure parts."""
