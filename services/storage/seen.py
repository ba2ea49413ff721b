"""The table of what was seen: per source and name of event how often and when; and who writes it in the background."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, Column, MetaData, String, Table, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ingest.domain.seen import MAX_NAMES, OTHER, Seen, Sighting
from schemas.catalog import Catalog
from schemas.times import MINUTE
from services.storage.database import Database, Transaction
from services.storage.errors import StorageUnavailable

__all__ = ["SeenName", "SeenReads", "SeenWriter", "seen_metadata", "seen_table"]

log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 10.0
_ROWS_AT_ONCE: Final = 500

seen_metadata = MetaData()
seen_table = Table(
    "ingest_seen",
    seen_metadata,
    Column("workspace", String(64), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("flagged", BigInteger, nullable=False),
)


class SeenName(NamedTuple):
    """One name from one source; times in ms. `flagged` of its `events` were not as the catalog says."""

    source: str
    name: str
    first_seen: int
    last_seen: int
    events: int
    flagged: int


class SeenReads:
    """Reads the table. Synchronous; raises what the database raises."""

    def __init__(self, database: Database) -> None:
        """`database` holds the table."""
        self._database = database

    def all_of(self, workspace: str) -> list[SeenName]:
        """Every name of a workspace, by source."""
        columns = seen_table.c
        query = (
            select(*(columns[name] for name in SeenName._fields))
            .where(columns.workspace == workspace)
            .order_by(columns.source, columns.name)
        )
        with self._database.reading() as transaction:
            return [SeenName(*row) for row in transaction.connection.execute(query)]


class SeenWriter:
    """Writes down every few seconds what the plan counted, until it is stopped; what came last is written then.

    Counts are of what passed the plan, in this process and all others: an event that its sender had to send again
    counts again. A database that is away for a while loses none of them.
    """

    def __init__(self, database: Database, seen: Seen, catalog: Catalog, now: Callable[[], int]) -> None:
        """`now`: wall time in ms; `catalog` knows the names that the table always has room for."""
        self._database = database
        self._seen = seen
        self._known = frozenset((*catalog.entries, *catalog.aliases))
        self._now = now
        self._stopping = asyncio.Event()
        self._flagged: dict[tuple[str, str], int] = {}
        self._said_at: int | None = None

    async def run(self) -> None:
        """Write again and again until `stop`, and once more then. Raises what an unfit database raises."""
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                pass
            await self.flush()

    def stop(self) -> None:
        """Write once more, and end."""
        self._stopping.set()

    async def flush(self) -> None:
        """Write down what came since the last time, if the database lets us; else it is kept for the next time."""
        taken = self._seen.take()
        if taken:
            try:
                await asyncio.to_thread(self._write, taken)
            except StorageUnavailable as error:
                self._seen.give_back(taken)
                log.warning("catalog.seen_not_written", extra={"code": error.code})
        self._warn(taken)

    def _write(self, taken: Sequence[Sighting]) -> None:
        with self._database.transaction() as transaction:
            rows = _merged(_with_room(transaction, taken, self._known))
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                _upsert(transaction, rows[start : start + _ROWS_AT_ONCE])

    def _warn(self, taken: Sequence[Sighting]) -> None:
        """One line a minute for each source that is to be told of what was flagged."""
        for each in taken:
            source = (each.workspace, each.source)
            if each.flagged and source in self._seen.warned:
                self._flagged[source] = self._flagged.get(source, 0) + each.flagged
        now = self._now()
        if self._flagged and (self._said_at is None or now - self._said_at >= MINUTE):
            for (_, name), events in sorted(self._flagged.items()):
                log.warning("catalog.events_off_plan", extra={"source": name, "events": events})
            self._flagged.clear()
            self._seen.warned.clear()
            self._said_at = now


def _with_room(transaction: Transaction, taken: Sequence[Sighting], known: frozenset[str]) -> list[Sighting]:
    """The sightings with names that the table has, or has room for; the others as `OTHER`."""
    found: list[Sighting] = []
    for workspace in sorted({each.workspace for each in taken}):
        mine = [each for each in taken if each.workspace == workspace]
        strange = [each for each in mine if each.name not in known]
        if strange:
            columns = seen_table.c
            query = select(columns.source, columns.name).where(columns.workspace == workspace)
            stored = {(source, name) for source, name in transaction.connection.execute(query) if name not in known}
            for each in strange:
                if (each.source, each.name) not in stored and len(stored) < MAX_NAMES:
                    stored.add((each.source, each.name))
            mine = [
                each if each.name in known or (each.source, each.name) in stored else each._replace(name=OTHER)
                for each in mine
            ]
        found += mine
    return found


def _merged(sightings: Sequence[Sighting]) -> list[Sighting]:
    """One sighting per row, in the order of the key, so that writers lock rows in one order."""
    merged: dict[tuple[str, ...], Sighting] = {}
    for each in sightings:
        before = merged.get(each[:3])
        merged[each[:3]] = (
            each
            if before is None
            else Sighting(
                *each[:3],
                before.events + each.events,
                min(before.first, each.first),
                max(before.last, each.last),
                before.flagged + each.flagged,
            )
        )
    return [merged[key] for key in sorted(merged)]


def _upsert(transaction: Transaction, rows: Sequence[Sighting]) -> None:
    make = sqlite_insert if transaction.dialect == "sqlite" else postgresql_insert
    least, most = (func.min, func.max) if transaction.dialect == "sqlite" else (func.least, func.greatest)
    statement = make(seen_table)
    new, columns = statement.excluded, seen_table.c
    values = [
        {
            "workspace": each.workspace,
            "source": each.source,
            "name": each.name,
            "first_seen": each.first,
            "last_seen": each.last,
            "events": each.events,
            "flagged": each.flagged,
        }
        for each in rows
    ]
    update = {
        "first_seen": least(columns.first_seen, new.first_seen),
        "last_seen": most(columns.last_seen, new.last_seen),
        "events": columns.events + new.events,
        "flagged": columns.flagged + new.flagged,
    }
    keys = [column.name for column in seen_table.primary_key.columns]
    transaction.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=update), values)
