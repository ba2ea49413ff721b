"""Fixtures of the engines' library: a database of each kind with its tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.storage.database import Database
from tests.integration.tracks.harness import tables
from tests.support.databases import BOTH, made_database


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """SQLite or PostgreSQL, with the tables of the harness."""
    yield from made_database(request, tmp_path, tables.metadata)
