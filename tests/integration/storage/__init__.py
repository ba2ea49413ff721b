"""The database adapter on SQLite and PostgreSQL."""
