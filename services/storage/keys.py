"""Write keys and API tokens: kept as SHA-256 hashes, cached in memory, made at the first start."""

import asyncio
import hashlib
import hmac
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Column, Connection, MetaData, Row, String, Table, select

from ingest.ports import Source
from schemas.ids import DEFAULT_WORKSPACE
from services.settings import Settings
from services.storage.database import Database
from services.storage.errors import StorageError, StorageUnavailable

__all__ = ["ALL_SCOPES", "CREDENTIALS_FILE", "Created", "Key", "KeyKind", "KeyRing", "Scope", "WriteKeys"]
__all__ += ["add_key", "ensure_keys", "keys_metadata", "keys_table"]

log = logging.getLogger(__name__)

CREDENTIALS_FILE: Final = "credentials.env"
RELOAD_AFTER: Final = 30_000
RELOAD_PATIENCE: Final = 1.0
MAX_SECRET_BYTES: Final = 256
_CREATION_LOCK: Final = 0x70616B65
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[A-Za-z0-9_.:/@+-]*$")


class KeyKind(StrEnum):
    """A write key lets its holder send events, and nothing else; a token lets its holder use the API."""

    WRITE = "write"
    API = "token"


class Scope(StrEnum):
    """What a token allows: reading, commands on customers, and administration. Each is given by itself."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


ALL_SCOPES: Final = frozenset(Scope)
_PREFIXES: Final = {KeyKind.WRITE: "wk_", KeyKind.API: "pt_"}
_VARIABLES: Final = {KeyKind.WRITE: "PARCOURS_WRITE_KEY", KeyKind.API: "PARCOURS_API_TOKEN"}

keys_metadata = MetaData()
keys_table = Table(
    "ingest_keys",
    keys_metadata,
    Column("hash", String(64), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("workspace", String(40), nullable=False),
    Column("source", String(64), nullable=False),
    Column("scopes", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)


@dataclass(frozen=True, slots=True)
class Key:
    """What a valid key stands for: its workspace, the name of its source, and the scopes of a token."""

    kind: KeyKind
    workspace: str
    source: str
    scopes: frozenset[Scope] = frozenset()


@dataclass(frozen=True, slots=True)
class Created:
    """What `ensure_keys` did: the secrets it made (None: given by the environment, or made earlier), and their file."""

    write_key: str | None
    api_token: str | None
    path: Path


class _Known(NamedTuple):
    digest: str
    key: Key


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class KeyRing:
    """All valid keys, looked up by hash in memory; read again from the database when older than 30 s.

    When the database does not answer, keys that were valid stay so. `given` are keys that the environment brought
    (secret to key): they are valid without being stored.
    """

    def __init__(self, database: Database, clock: Callable[[], int], given: Mapping[str, Key] | None = None) -> None:
        """`clock` returns the wall time in ms."""
        self._database = database
        self._clock = clock
        self._given = {_hash(secret): _Known(_hash(secret), key) for secret, key in (given or {}).items()}
        self._stored: dict[str, _Known] = {}
        self._loaded_at: int | None = None
        self._reload: asyncio.Task[StorageError | None] | None = None

    @classmethod
    def of(cls, settings: Settings, database: Database, clock: Callable[[], int]) -> "KeyRing":
        """A ring that also holds the keys given by the settings."""
        given: dict[str, Key] = {}
        if settings.write_key is not None:
            given[settings.write_key] = Key(KeyKind.WRITE, DEFAULT_WORKSPACE, "default")
        if settings.api_token is not None:
            given[settings.api_token] = Key(KeyKind.API, DEFAULT_WORKSPACE, "default", ALL_SCOPES)
        return cls(database, clock, given)

    async def find(self, kind: KeyKind, secret: str) -> Key | None:
        """The key of that kind with that secret, or None. Raises `StorageError` if keys could never be read."""
        if len(secret) > MAX_SECRET_BYTES:
            return None
        digest = _hash(secret)
        known = self._given.get(digest)
        if known is None:
            if self._loaded_at is None or self._clock() - self._loaded_at >= RELOAD_AFTER:
                await self._refresh()
            known = self._stored.get(digest)
        # The look-up by hash leaks nothing of the secret; the comparison in constant time leaves nothing to argue.
        if known is None or not hmac.compare_digest(known.digest, digest) or known.key.kind is not kind:
            return None
        return known.key

    async def _refresh(self) -> None:
        """Read the keys once, however many callers wait; with older keys at hand, wait a second at most."""
        if self._reload is None or self._reload.done():
            self._reload = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(None if self._loaded_at is None else RELOAD_PATIENCE):
                failure = await asyncio.shield(self._reload)
        except TimeoutError:
            failure = StorageUnavailable("The keys were not read in time.")
        if failure is not None and self._loaded_at is None:
            raise failure
        if failure is not None:
            self._loaded_at = self._clock()
            log.warning("keys.reload_failed", extra={"code": failure.code})

    async def _read(self) -> StorageError | None:
        try:
            self._stored = await asyncio.to_thread(_stored_keys, self._database)
        except StorageError as error:
            return error
        self._loaded_at = self._clock()
        return None


class WriteKeys:
    """The write keys of a ring, as the door asks for them."""

    def __init__(self, ring: KeyRing) -> None:
        """`ring` holds all keys."""
        self._ring = ring

    async def source(self, write_key: str) -> Source | None:
        """The source of a valid write key, or None. Raises `StorageError` if keys could never be read."""
        key = await self._ring.find(KeyKind.WRITE, write_key)
        return None if key is None else Source(key.workspace, key.source)


def _stored_keys(database: Database) -> dict[str, _Known]:
    with database.reading() as transaction:
        rows = transaction.connection.execute(select(keys_table).where(keys_table.c.revoked_at.is_(None))).all()
    return {row.hash: _Known(row.hash, _key_of(row)) for row in rows}


def _key_of(row: Row[Any]) -> Key:
    scopes = frozenset(Scope(scope) for scope in row.scopes.split())
    return Key(KeyKind(row.kind), row.workspace, row.source, scopes)


def add_key(connection: Connection, secret: str, key: Key, now: int) -> None:
    """Store the hash of a secret; `now` in ms."""
    connection.execute(
        keys_table.insert().values(
            hash=_hash(secret),
            kind=key.kind.value,
            workspace=key.workspace,
            source=key.source,
            scopes=" ".join(sorted(scope.value for scope in key.scopes)),
            created_at=now,
        )
    )


def ensure_keys(settings: Settings, database: Database, clock: Callable[[], int], draw: Callable[[], str]) -> Created:
    """Make sure that there is a write key and an API token: given by the settings, stored, or made now.

    `draw` draws a secret that is safe in a URL and a shell (`Ids.secret`). What is made now is written to
    `credentials.env` in the data folder (mode 0600, atomically) before it becomes valid; what the environment gives is
    written nowhere. The table must exist.
    Raises `StorageError`, `OSError` when the file cannot be written.
    """
    path = settings.data_dir / CREDENTIALS_FILE
    given = {KeyKind.WRITE: settings.write_key, KeyKind.API: settings.api_token}
    made: dict[KeyKind, str] = {}
    with database.transaction() as transaction:
        connection = transaction.connection
        if transaction.dialect == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATION_LOCK})")
        active = select(keys_table.c.kind).where(keys_table.c.revoked_at.is_(None))
        stored = set(connection.execute(active.distinct()).scalars())
        for kind in KeyKind:
            if given[kind] is None and kind.value not in stored:
                made[kind] = _PREFIXES[kind] + draw()
        if made:
            _write_credentials(path, {_VARIABLES[kind]: secret for kind, secret in made.items()})
        for kind, secret in made.items():
            scopes = ALL_SCOPES if kind is KeyKind.API else frozenset[Scope]()
            add_key(connection, secret, Key(kind, DEFAULT_WORKSPACE, "default", scopes), clock())
    return Created(made.get(KeyKind.WRITE), made.get(KeyKind.API), path)


def _write_credentials(path: Path, values: Mapping[str, str]) -> None:
    # Shells read this file too: a line that is no assignment would end them.
    kept = [line for line in _lines(path) if _ASSIGNMENT.match(line) and line.partition("=")[0] not in values]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in values.items())]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return ()
