"""Campaigns and messages."""
