"""Houses with the shipped campaigns, on SQLite and on PostgreSQL, and a mail server that listens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier.definitions import load_definitions
from notifier.tables import metadata
from services.storage.database import Database
from tests.integration.notifier.house import House
from tests.integration.notifier.post_office import PostOffice
from tests.support.databases import BOTH, made_database

DEFINITIONS = Path(__file__).parents[3] / "definitions"


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    yield from made_database(request, tmp_path, metadata)


@pytest.fixture
def build(database: Database) -> Callable[..., House]:
    """Makes a house with the shipped campaigns and templates."""

    def make(**given: Any) -> House:
        campaigns, templates = load_definitions(DEFINITIONS)
        return House(database, given.pop("campaigns", campaigns), templates, **given)

    return make


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    """A house whose mail goes into the local outbox."""
    return build()


@pytest.fixture
def post_office() -> Iterator[PostOffice]:
    """A mail server on a free port."""
    with PostOffice() as office:
        yield office
