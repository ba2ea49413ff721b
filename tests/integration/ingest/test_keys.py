"""Keys: made once, kept as hashes, read anew in time, never lost with the database."""

import stat
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from schemas.ids import DEFAULT_WORKSPACE
from services.settings import Settings
from services.storage.database import Database
from services.storage.errors import StorageError
from services.storage.keys import (
    ALL_SCOPES,
    Created,
    Key,
    KeyKind,
    KeyRing,
    Scope,
    add_key,
    ensure_keys,
    keys_metadata,
    keys_table,
)

NOW = 1_700_000_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "ingest.db")
    found.create(keys_metadata)
    yield found
    found.close()


def first_start(settings: Settings, database: Database) -> Created:
    numbers = count(1)
    return ensure_keys(settings, database, lambda: NOW, lambda: f"secret-{next(numbers)}")


def lines(created: Created) -> list[str]:
    return created.path.read_text().splitlines()


async def test_the_first_start_makes_one_of_each_and_writes_them_where_only_the_owner_reads(
    tmp_path: Path, database: Database
) -> None:
    created = first_start(Settings(data_dir=tmp_path), database)
    assert created.write_key is not None
    assert created.api_token is not None
    assert lines(created) == [f"PARCOURS_WRITE_KEY={created.write_key}", f"PARCOURS_API_TOKEN={created.api_token}"]
    assert stat.S_IMODE(created.path.stat().st_mode) == 0o600
    ring = KeyRing(database, lambda: NOW)
    assert await ring.find(KeyKind.WRITE, created.write_key) == Key(KeyKind.WRITE, DEFAULT_WORKSPACE, "default")
    token = await ring.find(KeyKind.API, created.api_token)
    assert token is not None
    assert token.scopes == ALL_SCOPES


def test_no_secret_is_stored_in_the_database(tmp_path: Path, database: Database) -> None:
    created = first_start(Settings(data_dir=tmp_path), database)
    with database.reading() as transaction:
        stored = repr(transaction.connection.execute(keys_table.select()).all())
    assert str(created.write_key) not in stored
    assert str(created.api_token) not in stored


def test_the_second_start_makes_nothing(tmp_path: Path, database: Database) -> None:
    before = lines(first_start(Settings(data_dir=tmp_path), database))
    again = first_start(Settings(data_dir=tmp_path), database)
    assert (again.write_key, again.api_token) == (None, None)
    assert lines(again) == before


async def test_keys_of_the_environment_are_valid_and_written_nowhere(tmp_path: Path, database: Database) -> None:
    settings = Settings(data_dir=tmp_path, write_key="from-outside", api_token="token-from-outside")
    created = first_start(settings, database)
    assert not created.path.exists()
    ring = KeyRing.of(settings, database, lambda: NOW)
    assert await ring.find(KeyKind.WRITE, "from-outside") is not None
    assert await ring.find(KeyKind.API, "token-from-outside") is not None
    assert await KeyRing(database, lambda: NOW).find(KeyKind.WRITE, "from-outside") is None


def test_a_key_made_later_joins_the_file_that_the_first_start_wrote(tmp_path: Path, database: Database) -> None:
    first = first_start(Settings(data_dir=tmp_path, write_key="given"), database)
    assert lines(first) == [f"PARCOURS_API_TOKEN={first.api_token}"]
    second = first_start(Settings(data_dir=tmp_path), database)
    assert second.api_token is None
    assert lines(second) == [f"PARCOURS_API_TOKEN={first.api_token}", f"PARCOURS_WRITE_KEY={second.write_key}"]


async def test_a_key_of_one_kind_is_none_of_the_other(tmp_path: Path, database: Database) -> None:
    created = first_start(Settings(data_dir=tmp_path), database)
    ring = KeyRing(database, lambda: NOW)
    assert await ring.find(KeyKind.API, str(created.write_key)) is None
    assert await ring.find(KeyKind.WRITE, str(created.api_token)) is None
    for strange in ("", " ", "x" * 1_000_000, "\ud800", "nul\x00"):
        assert await ring.find(KeyKind.WRITE, strange) is None


async def test_new_and_revoked_keys_are_known_within_thirty_seconds(tmp_path: Path, database: Database) -> None:
    first_start(Settings(data_dir=tmp_path), database)
    now = NOW
    ring = KeyRing(database, lambda: now)
    assert await ring.find(KeyKind.WRITE, "later") is None
    with database.transaction() as transaction:
        add_key(transaction.connection, "later", Key(KeyKind.WRITE, "default", "shop"), NOW)
    assert await ring.find(KeyKind.WRITE, "later") is None
    now += 30_000
    assert await ring.find(KeyKind.WRITE, "later") == Key(KeyKind.WRITE, "default", "shop")
    with database.transaction() as transaction:
        transaction.connection.execute(keys_table.update().values(revoked_at=NOW))
    now += 30_000
    assert await ring.find(KeyKind.WRITE, "later") is None


async def test_valid_keys_stay_valid_while_the_database_is_away(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    database.create(keys_metadata)
    now = NOW
    created = first_start(Settings(data_dir=tmp_path), database)
    ring = KeyRing(database, lambda: now)
    assert await ring.find(KeyKind.WRITE, str(created.write_key)) is not None
    with database.transaction() as transaction:
        transaction.connection.exec_driver_sql("ALTER TABLE ingest_keys RENAME TO gone")
    now += 60_000
    assert await ring.find(KeyKind.WRITE, str(created.write_key)) is not None
    with pytest.raises(StorageError):
        await KeyRing(database, lambda: now).find(KeyKind.WRITE, str(created.write_key))
    database.close()


@pytest.mark.postgres
async def test_keys_live_in_postgresql_too(tmp_path: Path, fresh_database: Callable[[], str]) -> None:
    database = Database(fresh_database())
    database.create(keys_metadata)
    created = first_start(Settings(data_dir=tmp_path), database)
    again = first_start(Settings(data_dir=tmp_path), database)
    assert (again.write_key, again.api_token) == (None, None)
    token = await KeyRing(database, lambda: NOW).find(KeyKind.API, str(created.api_token))
    assert token is not None
    assert Scope.ADMIN in token.scopes
    database.close()
