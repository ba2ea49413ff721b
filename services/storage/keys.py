"""Write keys and API tokens: kept as SHA-256 hashes, known in memory, read again in time."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Column, Connection, Row, String, Table, select

from ingest.ports import Source
from schemas.ids import DEFAULT_WORKSPACE
from services.settings import Settings
from services.storage.database import Database, Transaction
from services.storage.errors import StorageError, StorageUnavailable
from services.storage.sources import DEFAULT_RULES, SourceRules, metadata, stored_rules

__all__ = ["ALL_SCOPES", "PREFIXES", "Key", "KeyKind", "KeyRing", "Scope", "WriteKeys"]
__all__ += ["add_key", "given_keys", "hash_of", "key_of", "keys_metadata", "keys_table", "lock_keys"]

log = logging.getLogger(__name__)

RELOAD_AFTER: Final = 30_000
"""From this age (ms) the keys at hand are read again, while they go on being used."""

STALE_AFTER: Final = 50_000
"""From this age (ms) nobody is let in before they were read again, unless that takes longer than the patience."""

MISS_AFTER: Final = 1_000
"""An unknown key has them read again, if they are older than this (ms): it may have been made just now."""

RETRY_AFTER: Final = 1_000
"""After a failure nothing is read for so long (ms)."""

RELOAD_PATIENCE: Final = 1.0
FIRST_PATIENCE: Final = 2.0
MAX_SECRET_BYTES: Final = 256
_CHANGE_LOCK: Final = 0x70616B65
_ID_LENGTH: Final = 16
_HINTED_LENGTH: Final = 24


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

PREFIXES: Final = {KeyKind.WRITE: "wk_", KeyKind.API: "pt_"}
"""What secrets begin with, so that people and scanners know what they have found."""

keys_metadata = metadata
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
    Column("name", String(64)),
    Column("hint", String(16)),
    Column("expires_at", BigInteger),
    Column("replaced_by", String(32)),
)
"""`hint` is the secret's beginning and end, for people; `replaced_by` the id of the key that took its place."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a valid key stands for: its workspace, the name of its source, and the scopes of a token.

    `id` names it without telling the secret; from `expires_at` (ms; None: never) on it is not valid any more.
    """

    kind: KeyKind
    workspace: str
    source: str
    scopes: frozenset[Scope] = frozenset()
    id: str = field(default="", compare=False)
    expires_at: int | None = None


class _Known(NamedTuple):
    digest: str
    key: Key
    source: Source
    given: bool


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _id_of(digest: str) -> str:
    """The id of a stored key, given its hash. Secrets are drawn at random, so it tells nothing of them."""
    return f"key-{digest[:_ID_LENGTH]}"


def given_keys(settings: Settings) -> dict[str, Key]:
    """The keys that the environment brings, by secret."""
    given: dict[str, Key] = {}
    if settings.write_key is not None:
        given[settings.write_key] = Key(KeyKind.WRITE, DEFAULT_WORKSPACE, "default", id="given-write-key")
    if settings.api_token is not None:
        given[settings.api_token] = Key(KeyKind.API, DEFAULT_WORKSPACE, "default", ALL_SCOPES, "given-api-token")
    return given


class KeyRing:
    """All valid keys, looked up by hash in memory.

    From the age of 30 s on they are read again beside the requests; from 50 s on requests wait for that, a second at
    most. So a revocation holds after a minute, and a slow database holds up nobody for long. When it does not answer,
    keys that were valid stay so, and of any other nobody can say whether it is one: that is not the same as unknown.
    `given` are keys that the environment brought (secret to key): they are valid without being stored.
    """

    def __init__(self, database: Database, clock: Callable[[], int], given: Mapping[str, Key] | None = None) -> None:
        """`clock` returns the wall time in ms."""
        self._database = database
        self._clock = clock
        self._given = {hash_of(secret): key for secret, key in (given or {}).items()}
        self._known = _all_known({}, self._given, {})
        self._read_at: int | None = None
        self._changed = False
        self._failed: tuple[int, StorageError] | None = None
        self._reload: asyncio.Task[StorageError | None] | None = None
        self._too_slow: asyncio.Task[StorageError | None] | None = None
        self._told: list[Callable[[], None]] = []

    @classmethod
    def of(cls, settings: Settings, database: Database, clock: Callable[[], int]) -> "KeyRing":
        """A ring that also holds the keys given by the settings."""
        return cls(database, clock, given_keys(settings))

    async def find(self, kind: KeyKind, secret: str) -> Key | None:
        """The key of that kind with that secret, or None.

        Raises `StorageError` when the secret is not known and the keys cannot be read now, after two seconds at most:
        it may be one that was made meanwhile.
        """
        found = await self._find(kind, secret)
        return None if found is None else found.key

    async def source(self, write_key: str) -> Source | None:
        """The source of a valid write key, or None. Raises as `find`."""
        found = await self._find(KeyKind.WRITE, write_key)
        return None if found is None else found.source

    async def holds(self, key_id: str) -> bool:
        """Whether the key of that id is valid. Raises as `find`."""
        found = self._named(key_id)
        if not self._counts(found):
            failure = await self._refresh()
            found = self._named(key_id)
            if failure is not None and found is None and all(each.key.id != key_id for each in self._known.values()):
                raise failure
        return found is not None

    def source_at_hand(self, write_key: str) -> Source | None:
        """The source of a write key that is known to be valid without asking anybody; None: ask `source`."""
        if len(write_key) > MAX_SECRET_BYTES:
            return None
        found = self._look(KeyKind.WRITE, hash_of(write_key))
        return found.source if found is not None and self._counts(found) else None

    def forget(self) -> None:
        """Have the next look-up read the keys: they were changed just now."""
        # What is being read at this moment may be what was there before.
        self._reload = self._too_slow = self._failed = None
        self._changed = True
        for tell in self._told:
            tell()

    def on_change(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever keys were changed in this process: nothing that is remembered of them counts."""
        self._told.append(tell)

    async def _find(self, kind: KeyKind, secret: str) -> _Known | None:
        if len(secret) > MAX_SECRET_BYTES:
            return None
        digest = hash_of(secret)
        found = self._look(kind, digest)
        if self._counts(found):
            return found
        failure = await self._refresh()
        found = self._look(kind, digest)
        # What is known, but has ended or is of the other kind, is refused for good; what is not may be new.
        if failure is not None and digest not in self._known:
            raise failure
        return found

    def _named(self, key_id: str) -> _Known | None:
        now = self._clock()
        for known in self._known.values():
            if known.key.id == key_id and (known.key.expires_at is None or now < known.key.expires_at):
                return known
        return None

    def _look(self, kind: KeyKind, digest: str) -> _Known | None:
        known = self._known.get(digest)
        # The look-up by hash leaks nothing of the secret; the comparison in constant time leaves nothing to argue.
        if known is None or not hmac.compare_digest(known.digest, digest) or known.key.kind is not kind:
            return None
        ends = known.key.expires_at
        return known if ends is None or self._clock() < ends else None

    def _counts(self, found: _Known | None) -> bool:
        """Whether what was found, or that nothing was, counts without reading; begins to read when it is time to."""
        if self._read_at is None:
            return self._failed is not None and found is not None and not self._may_try()
        age = self._clock() - self._read_at
        if age < 0 or self._changed:
            return False
        if age >= RELOAD_AFTER and self._may_try():
            self._reload = self._reading()
        return age < MISS_AFTER if found is None else found.given or age < STALE_AFTER

    def _may_try(self) -> bool:
        return self._failed is None or not 0 <= self._clock() - self._failed[0] < RETRY_AFTER

    def _reading(self) -> asyncio.Task[StorageError | None]:
        if self._reload is None or self._reload.done():
            return asyncio.create_task(self._read(), name="keys")
        return self._reload

    async def _refresh(self) -> StorageError | None:
        """Read the keys once, however many callers wait; answer why they could not be read in time, if so."""
        if self._failed is not None and not self._may_try():
            return self._failed[1]
        task = self._reload = self._reading()
        if task is not self._too_slow:
            try:
                async with asyncio.timeout(FIRST_PATIENCE if self._read_at is None else RELOAD_PATIENCE):
                    return await asyncio.shield(task)
            except TimeoutError:
                self._too_slow = task
        return StorageUnavailable("The keys were not read in time.")

    async def _read(self) -> StorageError | None:
        began = self._clock()
        try:
            stored, rules = await asyncio.to_thread(_stored, self._database)
        except StorageError as error:
            log.warning("keys.reload_failed", extra={"code": error.code})
            self._failed = self._clock(), error
            return error
        if self._reload is asyncio.current_task():
            self._known = _all_known(stored, self._given, rules)
            self._read_at, self._failed, self._changed = began, None, False
        return None


class WriteKeys:
    """The write keys of a ring, as the door asks for them."""

    def __init__(self, ring: KeyRing) -> None:
        """`ring` holds all keys."""
        self._ring = ring

    async def source(self, write_key: str) -> Source | None:
        """The source of a valid write key, or None. Raises `StorageError` if nobody can say now."""
        return await self._ring.source(write_key)

    def at_hand(self, write_key: str) -> Source | None:
        """The source of a write key that is known to be valid without waiting for anything; None: ask `source`."""
        return self._ring.source_at_hand(write_key)

    def on_change(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever keys were changed in this process."""
        self._ring.on_change(tell)


def _all_known(
    stored: Mapping[str, Key], given: Mapping[str, Key], rules: Mapping[tuple[str, str], SourceRules]
) -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for digest, key in (*stored.items(), *given.items()):
        mode, events_per_second, burst = rules.get((key.workspace, key.source), DEFAULT_RULES)
        source = Source(key.workspace, key.source, mode, events_per_second, burst, key.id)
        known[digest] = _Known(digest, key, source, digest in given)
    return known


def _stored(database: Database) -> tuple[dict[str, Key], dict[tuple[str, str], SourceRules]]:
    valid = select(keys_table).where(keys_table.c.revoked_at.is_(None))
    with database.reading() as transaction:
        rows = transaction.connection.execute(valid).all()
        return {row.hash: key_of(row) for row in rows}, stored_rules(transaction.connection)


def lock_keys(transaction: Transaction) -> None:
    """Let nobody else change keys or sources until the transaction ends."""
    if transaction.dialect == "postgresql":
        transaction.connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CHANGE_LOCK})")


def key_of(row: Row[Any]) -> Key:
    """The key of a row of `keys_table`."""
    scopes = frozenset(Scope(scope) for scope in row.scopes.split())
    return Key(KeyKind(row.kind), row.workspace, row.source, scopes, _id_of(row.hash), row.expires_at)


def add_key(connection: Connection, secret: str, key: Key, now: int, name: str | None = None) -> str:
    """Store the hash of a secret; `now` in ms. Returns the key's id."""
    digest = hash_of(secret)
    connection.execute(
        keys_table.insert().values(
            hash=digest,
            kind=key.kind.value,
            workspace=key.workspace,
            source=key.source,
            scopes=" ".join(sorted(scope.value for scope in key.scopes)),
            created_at=now,
            name=name,
            hint=_hint(secret),
            expires_at=key.expires_at,
        )
    )
    return _id_of(digest)


def _hint(secret: str) -> str | None:
    """Enough of a secret for its owner to know it again; nothing of a short one."""
    return f"{secret[:5]}…{secret[-2:]}" if len(secret) >= _HINTED_LENGTH else None
