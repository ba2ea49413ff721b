"""The demonstration: a seeded population, posted through a tracking SDK, and the table at its end."""
