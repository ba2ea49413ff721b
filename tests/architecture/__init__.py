"""Rules of the code itself that no linter knows."""
