"""Fixtures of the stage engine: a database of each kind with its tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.storage.database import Database
from stage_engine.tables import metadata
from tests.support.databases import BOTH, made_database


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """SQLite or PostgreSQL, with the stage engine's tables."""
    yield from made_database(request, tmp_path, metadata)
