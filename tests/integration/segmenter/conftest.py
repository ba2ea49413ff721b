"""A segmenter of one partition, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from segmenter.tables import metadata
from services.storage.database import Database
from tests.support.databases import BOTH, made_database


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind with the segmenter's tables."""
    yield from made_database(request, tmp_path, metadata)
