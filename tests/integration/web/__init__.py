"""The assembled HTTP application."""
