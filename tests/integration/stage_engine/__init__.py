"""The stage engine on real databases."""
