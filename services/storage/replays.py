"""The answers of requests with an Idempotency-Key, kept for a day."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    and_,
    delete,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from ingest.idempotency import Begun
from schemas.times import DAY, MINUTE, SECOND
from services.storage.database import Database, Transaction

__all__ = ["StoredReplays", "replays_metadata", "replays_table"]

KEPT: Final = DAY
PURGED_EVERY: Final = 60 * MINUTE
ABANDONED: Final = 5 * SECOND
"""A request is answered long before. Whoever took a key that long ago, and left it, is gone."""

replays_metadata = MetaData()
replays_table = Table(
    "ingest_replays",
    replays_metadata,
    Column("workspace", String(40), primary_key=True),
    Column("key_hash", String(64), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("answer", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
)
Index("ingest_replays_created", replays_table.c.created_at)


class StoredReplays:
    """The `Replays` of a database; times in ms. One that is not answered yet has no answer."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        """`clock` returns the wall time in ms. The table must exist."""
        self._database = database
        self._clock = clock
        self._purged_at: int | None = None

    async def begin(self, workspace: str, key: str, content: str) -> Begun:
        """Take the key for a request with that content, unless it is taken. Raises `StorageError`."""
        return await asyncio.to_thread(self._begin, workspace, key, content)

    async def finish(self, workspace: str, key: str, answer: bytes) -> None:
        """Keep the answer of the request that took the key. Raises `StorageError`."""
        await asyncio.to_thread(self._finish, workspace, key, answer)

    async def give_up(self, workspace: str, key: str) -> None:
        """Let the key go. Raises `StorageError`."""
        await asyncio.to_thread(self._give_up, workspace, key)

    def _begin(self, workspace: str, key: str, content: str) -> Begun:
        now = self._clock()
        with self._database.transaction() as transaction:
            connection = transaction.connection
            self._purge(connection, now)
            if _taken(transaction, workspace, key, content, now):
                return Begun("new")
            row = connection.execute(select(replays_table).where(_of(workspace, key)).with_for_update()).first()
            if row is None:
                return Begun("running")
            if row.answer is None and row.body_hash == content:
                if now - row.created_at < ABANDONED:
                    return Begun("running")
                connection.execute(update(replays_table).where(_of(workspace, key)).values(created_at=now))
                return Begun("new")
            if now - row.created_at >= KEPT:
                values = {"body_hash": content, "answer": None, "created_at": now}
                connection.execute(update(replays_table).where(_of(workspace, key)).values(values))
                return Begun("new")
            if row.body_hash != content:
                return Begun("other")
            return Begun("answered", zlib.decompress(row.answer))

    def _purge(self, connection: Connection, now: int) -> None:
        if self._purged_at is None or now - self._purged_at >= PURGED_EVERY:
            self._purged_at = now
            connection.execute(delete(replays_table).where(replays_table.c.created_at < now - KEPT))

    def _finish(self, workspace: str, key: str, answer: bytes) -> None:
        with self._database.transaction() as transaction:
            values = {"answer": zlib.compress(answer, 1)}
            transaction.connection.execute(update(replays_table).where(_of(workspace, key)).values(values))

    def _give_up(self, workspace: str, key: str) -> None:
        unanswered = and_(_of(workspace, key), replays_table.c.answer.is_(None))
        with self._database.transaction() as transaction:
            transaction.connection.execute(delete(replays_table).where(unanswered))


def _of(workspace: str, key: str) -> ColumnElement[bool]:
    return and_(replays_table.c.workspace == workspace, replays_table.c.key_hash == key)


def _taken(transaction: Transaction, workspace: str, key: str, content: str, now: int) -> bool:
    """Whether nobody had the key, and it is taken now."""
    insert = postgresql.insert if transaction.dialect == "postgresql" else sqlite.insert
    values = {"workspace": workspace, "key_hash": key, "body_hash": content, "created_at": now}
    statement = insert(replays_table).values(values).on_conflict_do_nothing().returning(replays_table.c.key_hash)
    return transaction.connection.execute(statement).first() is not None
