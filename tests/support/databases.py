"""A fresh database of each kind, for tests that must hold on both."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from services.storage import tables
from services.storage.database import Database

__all__ = ["BOTH", "made_database"]

BOTH = [pytest.param("sqlite", id="sqlite"), pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres)]
"""Parameters of a fixture that is to run on both databases."""


def made_database(request: pytest.FixtureRequest, tmp_path: Path, *metadata: MetaData) -> Iterator[Database]:
    """A database of the kind that the fixture's parameter names, with the runtime's tables and the given ones."""
    if request.param == "postgresql":
        fresh: Callable[[], str] = request.getfixturevalue("fresh_database")
        database = Database(fresh())
    else:
        database = Database(tmp_path / "state.db")
    for each in (tables.metadata, *metadata):
        database.create(each)
    yield database
    database.close()
