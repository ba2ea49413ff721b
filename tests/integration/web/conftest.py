"""The HTTP application over facts in memory, and a browser-like client for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from services.runtime.clock import ManualClock
from services.runtime.ids import RandomIds
from services.settings import Settings
from services.storage.database import Database
from services.storage.keys import KeyRing, keys_metadata
from services.web import sessions as sessions_module
from services.web.app import WebParts, assemble
from services.web.sessions import Sessions
from tests.integration.web.memory_reads import MemoryReads

NOW = 1_795_358_000_000
TOKEN = "token-for-tests"
WRITE_KEY = "write-key-for-tests"
ORIGIN = "http://parcours.test"
FIRST_LINE = ". data/credentials.env; curl -u \"$PARCOURS_WRITE_KEY:\" http://127.0.0.1:8080/v1/track -d '{}'"

Opener = Callable[[MemoryReads], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock(NOW)


@pytest.fixture
def web_database(tmp_path: Path) -> Iterator[Database]:
    """A database with the tables of keys and sessions."""
    database = Database(tmp_path / "web.db")
    database.create(keys_metadata)
    database.create(sessions_module.metadata)
    yield database
    database.close()


@pytest.fixture
def sessions(web_database: Database, clock: ManualClock) -> Sessions:
    """The sessions of the application."""
    return Sessions(web_database, clock, RandomIds(clock.now))


@pytest.fixture
def open_client(web_database: Database, sessions: Sessions, clock: ManualClock, tmp_path: Path) -> Opener:
    """Opens a client on an application over the given facts; it follows no redirects."""
    settings = Settings(data_dir=tmp_path, write_key=WRITE_KEY, api_token=TOKEN)
    keys = KeyRing.of(settings, web_database, clock.now)

    @asynccontextmanager
    async def opened(reads: MemoryReads) -> AsyncIterator[httpx.AsyncClient]:
        parts = WebParts(clock, RandomIds(clock.now), keys, sessions, reads, list, first_line=FIRST_LINE)
        transport = httpx.ASGITransport(assemble(parts))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            yield client

    return opened


@pytest.fixture(scope="session")
def population_reads() -> MemoryReads:
    """Sixty customers."""
    return MemoryReads(60, 7, NOW)


@pytest.fixture
async def visitor(open_client: Opener, population_reads: MemoryReads) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has not signed in."""
    async with open_client(population_reads) as client:
        yield client


@pytest.fixture
async def browser(visitor: httpx.AsyncClient, sessions: Sessions) -> httpx.AsyncClient:
    """A signed-in browser."""
    link = sessions.make_link("default", {"read", "write", "admin"})
    assert (await visitor.get(link)).status_code == 303
    return visitor
