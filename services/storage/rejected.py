"""What is on `parcours.rejected`, in rows that can be listed and counted. The bytes stay on the log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from services.storage.database import Database

__all__ = ["CLAIMED_FOR", "Rejected", "RejectedFilter", "RejectedPlace", "RejectedStore", "metadata"]

CLAIMED_FOR: Final = 60_000
"""So long (ms) nobody else redrives what a process has claimed. Far longer than it takes to append it."""

metadata: Final = MetaData()

_items = Table(
    "ingest_rejected",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("workspace", String(40), nullable=False),
    Column("event_id", String(255), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("detail", String(500), nullable=False),
    Column("origin", String(64), nullable=False),
    Column("source", String(64), nullable=False),
    Column("call", String(16), nullable=False),
    Column("place", String(255), nullable=False),
    Column("size", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("redriven_at", BigInteger),
    Column("claimed_at", BigInteger),
)
_by_time = Index("ingest_rejected_by_time", _items.c.workspace, _items.c.at, _items.c.partition, _items.c.position)

_read = Table(
    "ingest_rejected_read",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("next_position", BigInteger, nullable=False),
)


class RejectedPlace(NamedTuple):
    """Where a record stands on `parcours.rejected`."""

    partition: int
    position: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record of `parcours.rejected`: instants in ms, `size` of its value in bytes.

    `origin` is ``door`` or the processor that gave it up; `place` where the original stood on the log, if it did;
    `call` is the path's, if it named one. `redriven_at`: when it was sent through the door again.
    """

    where: RejectedPlace
    workspace: str
    event_id: str
    reason: str
    detail: str
    origin: str
    source: str
    call: str
    place: str
    size: int
    at: int
    redriven_at: int | None = None


@dataclass(frozen=True, slots=True)
class RejectedFilter:
    """Which records are meant: all those that fit what is given. `since` and `before` in ms; `redriven` None: both."""

    reason: str | None = None
    source: str | None = None
    since: int | None = None
    before: int | None = None
    redriven: bool | None = False


class RejectedStore:
    """The rows of one database. Synchronous: call it in a worker thread."""

    def __init__(self, database: Database) -> None:
        """The tables of `metadata` exist."""
        self._database = database

    def positions(self) -> dict[int, int]:
        """By partition, the offset to read next."""
        with self._database.reading() as transaction:
            rows = transaction.connection.execute(select(_read.c.partition, _read.c.next_position))
            return {row.partition: row.next_position for row in rows}

    def add(self, partition: int, following: int | None, upto: int, found: Sequence[Rejected]) -> bool:
        """Store what was read of a partition from offset `following` (None: nothing was yet) to before `upto`.

        False, and nothing is stored, when another process did that meanwhile.
        """
        try:
            with self._database.transaction() as transaction:
                connection = transaction.connection
                if following is None:
                    connection.execute(insert(_read).values(partition=partition, next_position=upto))
                else:
                    here = and_(_read.c.partition == partition, _read.c.next_position == following)
                    if connection.execute(update(_read).where(here).values(next_position=upto)).rowcount != 1:
                        return False
                if found:
                    connection.execute(insert(_items), [_values(item) for item in found])
        except IntegrityError:
            return False
        return True

    def forget(self, partition: int, first: int) -> None:
        """Drop the rows of records that the log has dropped: those of a partition before offset `first`."""
        gone = and_(_items.c.partition == partition, _items.c.position < first)
        with self._database.transaction() as transaction:
            transaction.connection.execute(delete(_items).where(gone))

    def restart(self, partition: int) -> None:
        """Drop all rows of a partition: its log is another one now."""
        with self._database.transaction() as transaction:
            transaction.connection.execute(delete(_items).where(_items.c.partition == partition))
            transaction.connection.execute(delete(_read).where(_read.c.partition == partition))

    def counts(self, workspace: str, wanted: RejectedFilter) -> dict[str, int]:
        """How many there are, by reason."""
        query = select(_items.c.reason, func.count()).where(_fits(workspace, wanted)).group_by(_items.c.reason)
        with self._database.reading() as transaction:
            rows = transaction.connection.execute(query.order_by(_items.c.reason)).all()
        return {row[0]: row[1] for row in rows}

    def newest(
        self, workspace: str, wanted: RejectedFilter, after: tuple[int, int, int] | None, limit: int
    ) -> list[Rejected]:
        """The newest first; `after` is the (at, partition, position) of the last one of the page before."""
        order = (_items.c.at, _items.c.partition, _items.c.position)
        query = select(_items).where(_fits(workspace, wanted))
        if after is not None:
            query = query.where(tuple_(*order) < after)
        return self._rows(query.order_by(*(column.desc() for column in order)).limit(limit))

    def in_order(
        self, workspace: str, wanted: RejectedFilter, after: RejectedPlace | None, limit: int
    ) -> list[Rejected]:
        """In the order in which they lie on the log, partition by partition; `after` is where the last page ended."""
        order = (_items.c.partition, _items.c.position)
        query = select(_items).where(_fits(workspace, wanted))
        if after is not None:
            query = query.where(tuple_(*order) > after)
        return self._rows(query.order_by(*order).limit(limit))

    def at(self, workspace: str, places: Sequence[RejectedPlace]) -> list[Rejected]:
        """Those of the workspace at these places, in the order in which they lie on the log."""
        if not places:
            return []
        query = select(_items).where(_items.c.workspace == workspace, _at(places))
        return self._rows(query.order_by(_items.c.partition, _items.c.position))

    def claim(self, places: Sequence[RejectedPlace], now: int) -> set[RejectedPlace]:
        """Claim them for one try, at `now` (ms); those that are open and that nobody has claimed of late."""
        if not places:
            return set()
        claimed = _items.c.claimed_at
        # What seems to be claimed in time to come was claimed by a clock that has been set back since.
        free = or_(claimed.is_(None), claimed < now - CLAIMED_FOR, claimed > now + CLAIMED_FOR)
        wanted = update(_items).where(_at(places), _items.c.redriven_at.is_(None), free).values(claimed_at=now)
        with self._database.transaction() as transaction:
            rows = transaction.connection.execute(wanted.returning(_items.c.partition, _items.c.position))
            return {RejectedPlace(*row) for row in rows}

    def release(self, places: Sequence[RejectedPlace], now: int) -> None:
        """Let others try these, which were claimed at `now` (ms) and not redriven."""
        if not places:
            return
        open_ = update(_items).where(_at(places), _items.c.redriven_at.is_(None), _items.c.claimed_at == now)
        with self._database.transaction() as transaction:
            transaction.connection.execute(open_.values(claimed_at=None))

    def mark(self, places: Sequence[RejectedPlace], now: int) -> None:
        """Note that these were sent through the door again, at `now` (ms), unless that is noted already."""
        if not places:
            return
        here = and_(_items.c.partition == bindparam("of_partition"), _items.c.position == bindparam("at_position"))
        once = update(_items).where(here, _items.c.redriven_at.is_(None)).values(redriven_at=now)
        with self._database.transaction() as transaction:
            transaction.connection.execute(once, [{"of_partition": each[0], "at_position": each[1]} for each in places])

    def _rows(self, query: Any) -> list[Rejected]:
        with self._database.reading() as transaction:
            return [_item(row) for row in transaction.connection.execute(query)]


def _at(places: Sequence[RejectedPlace]) -> ColumnElement[bool]:
    return or_(*(and_(_items.c.partition == each[0], _items.c.position == each[1]) for each in places))


def _fits(workspace: str, wanted: RejectedFilter) -> ColumnElement[bool]:
    found = [_items.c.workspace == workspace]
    if wanted.reason is not None:
        found.append(_items.c.reason == _storable(wanted.reason))
    if wanted.source is not None:
        found.append(_items.c.source == _storable(wanted.source))
    if wanted.since is not None:
        found.append(_items.c.at >= wanted.since)
    if wanted.before is not None:
        found.append(_items.c.at < wanted.before)
    if wanted.redriven is not None:
        redriven = _items.c.redriven_at
        found.append(redriven.is_not(None) if wanted.redriven else redriven.is_(None))
    return and_(*found)


def _storable(text: str) -> str:
    """What a text is in a row: PostgreSQL takes no U+0000."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _values(item: Rejected) -> Mapping[str, object]:
    return {
        "partition": item.where.partition,
        "position": item.where.position,
        "workspace": item.workspace,
        "event_id": item.event_id,
        "reason": item.reason,
        "detail": item.detail,
        "origin": item.origin,
        "source": item.source,
        "call": item.call,
        "place": item.place,
        "size": item.size,
        "at": item.at,
        "redriven_at": item.redriven_at,
    }


def _item(row: Row[Any]) -> Rejected:
    values = dict(row._mapping)
    del values["claimed_at"]
    where = RejectedPlace(values.pop("partition"), values.pop("position"))
    return Rejected(where, **values)
