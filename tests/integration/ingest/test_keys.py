"""Keys: made once, kept as hashes, read anew in time, never lost with the database."""

import asyncio
import stat
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from schemas.ids import DEFAULT_WORKSPACE
from services.settings import Settings
from services.storage import keys as keys_module
from services.storage.database import Database
from services.storage.errors import StorageError, StorageUnavailable
from services.storage.first_keys import Created, ensure_keys
from services.storage.keys import ALL_SCOPES, Key, KeyKind, KeyRing, Scope, add_key, keys_metadata, keys_table
from services.storage.sources import SourceRules, put_rules

NOW = 1_700_000_000_000
SHOP = Key(KeyKind.WRITE, "default", "shop")


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


def revoke_all(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.connection.execute(keys_table.update().values(revoked_at=NOW))


def add(database: Database, secret: str, key: Key) -> None:
    with database.transaction() as transaction:
        add_key(transaction.connection, secret, key, NOW)


async def test_a_key_made_elsewhere_is_known_after_a_second(tmp_path: Path, database: Database) -> None:
    first_start(Settings(data_dir=tmp_path), database)
    now = NOW
    ring = KeyRing(database, lambda: now)
    assert await ring.find(KeyKind.WRITE, "later") is None
    add(database, "later", SHOP)
    assert await ring.find(KeyKind.WRITE, "later") is None
    now += 1_000
    assert await ring.find(KeyKind.WRITE, "later") == SHOP


@pytest.mark.parametrize("used_every", [1_000, 7_000, 29_000, 45_000, 3_600_000])
async def test_a_revocation_elsewhere_holds_within_a_minute_however_often_the_key_is_used(
    tmp_path: Path, database: Database, used_every: int
) -> None:
    now = NOW
    rings = [KeyRing(database, lambda: now), KeyRing(database, lambda: now)]
    add(database, "shop", SHOP)
    for ring in rings:
        assert await ring.find(KeyKind.WRITE, "shop") == SHOP
    revoke_all(database)
    revoked_at = now
    while now - revoked_at < 60_000:
        now += used_every
        for ring in rings:
            await ring.find(KeyKind.WRITE, "shop")
            await settled(ring)
    for ring in rings:
        assert await ring.find(KeyKind.WRITE, "shop") is None
        assert ring.source_at_hand("shop") is None


async def settled(ring: KeyRing) -> None:
    """Let what is read beside the requests come in."""
    if ring._reload is not None:
        await ring._reload


async def test_a_change_in_this_process_holds_at_once(database: Database) -> None:
    ring = KeyRing(database, lambda: NOW)
    add(database, "shop", SHOP)
    assert await ring.find(KeyKind.WRITE, "shop") == SHOP
    revoke_all(database)
    assert await ring.find(KeyKind.WRITE, "shop") == SHOP
    ring.forget()
    assert await ring.find(KeyKind.WRITE, "shop") is None


async def test_a_key_ends_when_it_expires(database: Database) -> None:
    now = NOW
    ring = KeyRing(database, lambda: now)
    add(database, "shop", Key(KeyKind.WRITE, "default", "shop", expires_at=NOW + 500))
    assert await ring.find(KeyKind.WRITE, "shop") is not None
    assert ring.source_at_hand("shop") is not None
    now += 500
    assert await ring.find(KeyKind.WRITE, "shop") is None
    assert ring.source_at_hand("shop") is None


async def test_what_is_at_hand_needs_no_reading_and_is_renewed_beside_the_requests(database: Database) -> None:
    now = NOW
    ring = KeyRing(database, lambda: now, {"given": Key(KeyKind.WRITE, "default", "default", id="given-write-key")})
    add(database, "shop", SHOP)
    assert ring.source_at_hand("shop") is None, "nothing was read yet"
    found = await ring.source("shop")
    assert found is not None
    assert (found.workspace, found.name, found.mode) == ("default", "shop", "open")
    assert found.key.startswith("key-")
    assert ring.source_at_hand("shop") == found
    with database.transaction() as transaction:
        put_rules(transaction.connection, "default", "shop", SourceRules("strict", 5, 50), NOW)
    now += 30_000
    assert ring.source_at_hand("shop") == found, "as it was, while it is read again"
    await settled(ring)
    renewed = ring.source_at_hand("shop")
    assert renewed == found._replace(mode="strict", events_per_second=5, burst=50)
    now += 50_000
    assert ring.source_at_hand("shop") is None, "too old to be used without asking"
    assert ring.source_at_hand("given") is not None
    await settled(ring)


async def test_nobody_waits_long_for_a_database_that_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = NOW
    release = threading.Event()
    ring = KeyRing(database, lambda: now)
    add(database, "shop", SHOP)
    assert await ring.find(KeyKind.WRITE, "shop") == SHOP
    stored = keys_module._stored

    def hanging(from_database: Database) -> object:
        release.wait(20)
        return stored(from_database)

    monkeypatch.setattr(keys_module, "_stored", hanging)
    monkeypatch.setattr(keys_module, "RELOAD_PATIENCE", 0.05)
    monkeypatch.setattr(keys_module, "FIRST_PATIENCE", 0.05)
    now += 3_600_000
    try:
        async with asyncio.timeout(10):
            for _ in range(1_000):
                assert await ring.find(KeyKind.WRITE, "shop") == SHOP, "valid as long as nobody says otherwise"
            with pytest.raises(StorageUnavailable):
                await KeyRing(database, lambda: now).find(KeyKind.WRITE, "shop")
    finally:
        release.set()
    await settled(ring)


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


async def test_a_key_made_just_before_the_database_went_away_is_not_called_unknown(database: Database) -> None:
    now = NOW
    ring = KeyRing(database, lambda: now)
    add(database, "shop", SHOP)
    add(database, "ended", Key(KeyKind.WRITE, "default", "shop", expires_at=NOW + 500))
    assert await ring.find(KeyKind.WRITE, "shop") == SHOP
    add(database, "new", SHOP)
    rename(database, "ingest_keys", "gone")
    for moved in (1_000, 500, 500, 3_600_000):
        now += moved
        assert ring.source_at_hand("new") is None
        with pytest.raises(StorageError):
            await ring.find(KeyKind.WRITE, "new")
        with pytest.raises(StorageError):
            await ring.holds("key-of-a-new-session")
        assert await ring.find(KeyKind.WRITE, "shop") == SHOP
        assert await ring.find(KeyKind.WRITE, "ended") is None, "refused for good"
        assert await ring.find(KeyKind.API, "shop") is None, "refused for good"
        await settled(ring)
    rename(database, "gone", "ingest_keys")
    now += 1_000
    assert await ring.find(KeyKind.WRITE, "new") == SHOP
    assert await ring.find(KeyKind.WRITE, "never made") is None


def rename(database: Database, name: str, other: str) -> None:
    with database.transaction() as transaction:
        transaction.connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {other}")


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
