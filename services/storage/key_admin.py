"""Making, listing, replacing and revoking keys, and the rules of their sources. A secret is shown once, when made."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from services.errors import ServiceError
from services.runtime.clock import Clock
from services.runtime.ids import Ids
from services.storage.database import Database
from services.storage.keys import PREFIXES, Key, KeyKind, Scope, add_key, key_of, keys_table, lock_keys
from services.storage.sources import ANY, DEFAULT_RULES, SourceRules, etag_of, put_rules, rules_of, stored_rules

__all__ = [
    "KeyAdmin",
    "KeyGiven",
    "KeyInfo",
    "KeyReplaced",
    "LastAdminToken",
    "MadeKey",
    "NewKey",
    "PreconditionRequired",
]
__all__ += ["SourceInfo", "Stale", "UnknownKey", "UnknownSource"]

_GIVEN_AT: Final = 0
_KEY_ID: Final = re.compile(r"key-([0-9a-f]{16})", re.ASCII)


class UnknownKey(ServiceError):
    """No key has this id. `parcours keys list` and GET /v1/keys list them."""

    code = "unknown_key"


class UnknownSource(ServiceError):
    """No source has this name. GET /v1/sources lists them."""

    code = "unknown_source"


class KeyGiven(ServiceError):
    """This key comes from the environment. Change it there and restart."""

    code = "key_given"


class KeyReplaced(ServiceError):
    """This key was replaced, revoked, or has expired already. Make a new one."""

    code = "key_replaced"


class LastAdminToken(ServiceError):
    """Nobody could administer any more. Make another admin token first."""

    code = "last_admin_token"


class PreconditionRequired(ServiceError):
    """It was changed before. Read it, and send the ETag of what you read as If-Match."""

    code = "precondition_required"


class Stale(ServiceError):
    """Someone else changed it since you read it. Read it anew and decide again."""

    code = "stale"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a key. Instants are in ms; `hint` is its beginning and end; `given`: by the environment."""

    key: Key
    name: str | None
    hint: str | None
    created_at: int
    revoked_at: int | None = None
    replaced_by: str | None = None
    given: bool = False

    def state(self, now: int) -> str:
        """``active``, ``revoked`` or ``expired`` at `now`."""
        if self.revoked_at is not None:
            return "revoked"
        ends = self.key.expires_at
        return "active" if ends is None or now < ends else "expired"


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was made just now, with the secret that nobody can read again."""

    info: KeyInfo
    secret: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key shall be: its scopes are a token's; `expires_at` in ms."""

    kind: KeyKind
    source: str = "default"
    scopes: Collection[Scope] = ()
    name: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A source's rules, their entity tag, and how many of its write keys are valid."""

    name: str
    rules: SourceRules
    keys: int

    @property
    def etag(self) -> str:
        """Of the rules."""
        return etag_of(self.rules)


class KeyAdmin:
    """The keys and sources of one database. Synchronous: call it in a worker thread."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, given: Mapping[str, Key]) -> None:
        """`given` are the keys that the environment brings, by secret; the tables of `keys_metadata` exist."""
        self._database = database
        self._clock = clock
        self._ids = ids
        self._given = tuple(given.values())

    def keys(self, workspace: str) -> list[KeyInfo]:
        """All keys of a workspace, the given ones first, then the oldest first; ended ones too."""
        by_age = select(keys_table).where(keys_table.c.workspace == workspace).order_by(keys_table.c.created_at)
        with self._database.reading() as transaction:
            rows = transaction.connection.execute(by_age.order_by(keys_table.c.hash)).all()
        return [*self._given_infos(workspace), *(_info(row) for row in rows)]

    def key(self, workspace: str, key_id: str) -> KeyInfo:
        """One key. Raises `UnknownKey`."""
        for given in self._given_infos(workspace):
            if given.key.id == key_id:
                return given
        with self._database.reading() as transaction:
            return _info(_row(transaction.connection, workspace, key_id))

    def create(self, workspace: str, wanted: NewKey) -> MadeKey:
        """Make a key."""
        key = Key(wanted.kind, workspace, wanted.source, frozenset(wanted.scopes), expires_at=wanted.expires_at)
        with self._database.transaction() as transaction:
            return self._add(transaction.connection, key, wanted.name)

    def rotate(self, workspace: str, key_id: str, grace: int) -> MadeKey:
        """Make a key like another one, which ends after `grace` (ms).

        Raises `UnknownKey`, `KeyGiven`, and `KeyReplaced` when it has ended or has been replaced already.
        """
        self._refuse_given(workspace, key_id)
        now = self._clock.now()
        with self._locked() as connection:
            old = _info(_row(connection, workspace, key_id))
            if old.state(now) != "active" or old.replaced_by is not None:
                raise KeyReplaced
            ends = old.key.expires_at
            made = self._add(
                connection,
                replace(old.key, id="", expires_at=None if ends is None else now + (ends - old.created_at)),
                old.name,
            )
            values: dict[str, object] = {"replaced_by": made.info.key.id}
            if grace > 0:
                values["expires_at"] = now + grace if ends is None else min(ends, now + grace)
            else:
                values["revoked_at"] = now
            connection.execute(keys_table.update().where(_is(workspace, key_id)).values(values))
            return made

    def revoke(self, workspace: str, key_id: str) -> None:
        """End a key; again does nothing. Raises `UnknownKey`, `KeyGiven`, `LastAdminToken`."""
        self._refuse_given(workspace, key_id)
        now = self._clock.now()
        with self._locked() as connection:
            found = _info(_row(connection, workspace, key_id))
            if found.revoked_at is not None:
                return
            if found.state(now) == "active" and self._is_last_admin(connection, found.key, now):
                raise LastAdminToken
            connection.execute(keys_table.update().where(_is(workspace, key_id)).values(revoked_at=now))

    def sources(self, workspace: str) -> list[SourceInfo]:
        """The sources of a workspace: those that have keys, and those that were given rules; by name."""
        with self._database.reading() as transaction:
            rules = stored_rules(transaction.connection)
            valid = self._valid_write_keys(transaction.connection, workspace)
        names = {*valid, *(name for of, name in rules if of == workspace)}
        return [
            SourceInfo(name, rules.get((workspace, name), DEFAULT_RULES), valid.get(name, 0)) for name in sorted(names)
        ]

    def source(self, workspace: str, name: str) -> SourceInfo:
        """One source. Raises `UnknownSource`."""
        with self._database.reading() as transaction:
            rules = rules_of(transaction.connection, workspace, name)
            valid = self._valid_write_keys(transaction.connection, workspace)
        if rules is None and name not in valid:
            raise UnknownSource
        return SourceInfo(name, rules or DEFAULT_RULES, valid.get(name, 0))

    def put_source(self, workspace: str, name: str, rules: SourceRules, expected: Collection[str] | None) -> SourceInfo:
        """Give a source its rules. `expected`: entity tags of which one must be that of the rules in force (or `ANY`).

        None is enough for a source that was never given any. Raises `Stale`, `PreconditionRequired`.
        """
        with self._locked() as connection:
            before = rules_of(connection, workspace, name)
            if expected is None and before is not None:
                raise PreconditionRequired
            if expected is not None and not {ANY, etag_of(before or DEFAULT_RULES)} & set(expected):
                raise Stale
            put_rules(connection, workspace, name, rules, self._clock.now())
            valid = self._valid_write_keys(connection, workspace)
        return SourceInfo(name, rules, valid.get(name, 0))

    def _add(self, connection: Connection, key: Key, name: str | None) -> MadeKey:
        secret = PREFIXES[key.kind] + self._ids.secret()
        key_id = add_key(connection, secret, key, self._clock.now(), name)
        return MadeKey(_info(_row(connection, key.workspace, key_id)), secret)

    def _is_last_admin(self, connection: Connection, key: Key, now: int) -> bool:
        if Scope.ADMIN not in key.scopes:
            return False
        if any(given.workspace == key.workspace and Scope.ADMIN in given.scopes for given in self._given):
            return False
        tokens = select(keys_table).where(
            keys_table.c.workspace == key.workspace, keys_table.c.kind == KeyKind.API.value, _valid(now)
        )
        others = [key_of(row) for row in connection.execute(tokens)]
        return not any(Scope.ADMIN in other.scopes and other.id != key.id for other in others)

    def _valid_write_keys(self, connection: Connection, workspace: str) -> dict[str, int]:
        """How many valid write keys each source has; sources whose keys have ended count with 0."""
        now = self._clock.now()
        here = select(keys_table).where(keys_table.c.workspace == workspace, keys_table.c.kind == KeyKind.WRITE.value)
        infos = [*self._given_infos(workspace), *(_info(row) for row in connection.execute(here))]
        counts: dict[str, int] = {}
        for info in infos:
            if info.key.kind is KeyKind.WRITE:
                counts[info.key.source] = counts.get(info.key.source, 0) + (info.state(now) == "active")
        return counts

    def _given_infos(self, workspace: str) -> list[KeyInfo]:
        return [
            KeyInfo(key, "from the environment", None, _GIVEN_AT, given=True)
            for key in self._given
            if key.workspace == workspace
        ]

    def _refuse_given(self, workspace: str, key_id: str) -> None:
        if any(info.key.id == key_id for info in self._given_infos(workspace)):
            raise KeyGiven

    @contextmanager
    def _locked(self) -> Iterator[Connection]:
        """A transaction beside which nobody else changes keys or sources."""
        with self._database.transaction() as transaction:
            lock_keys(transaction)
            yield transaction.connection


def _info(row: Row[Any]) -> KeyInfo:
    return KeyInfo(key_of(row), row.name, row.hint, row.created_at, row.revoked_at, row.replaced_by)


def _row(connection: Connection, workspace: str, key_id: str) -> Row[Any]:
    """The row of a stored key. Raises `UnknownKey`."""
    row = connection.execute(select(keys_table).where(_is(workspace, key_id))).one_or_none()
    if row is None:
        raise UnknownKey
    return row


def _is(workspace: str, key_id: str) -> ColumnElement[bool]:
    beginning = _KEY_ID.fullmatch(key_id)
    if beginning is None:
        raise UnknownKey
    return and_(keys_table.c.workspace == workspace, keys_table.c.hash.startswith(beginning[1]))


def _valid(now: int) -> ColumnElement[bool]:
    ends = keys_table.c.expires_at
    return and_(keys_table.c.revoked_at.is_(None), or_(ends.is_(None), ends > now))
