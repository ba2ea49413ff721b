"""Positions by compare-and-set: who owns a partition, how far it has read, and its clock. Synchronous."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from services.storage.database import Transaction
from services.storage.errors import StorageError
from services.storage.tables import clocks, positions, relays

__all__ = ["Move", "Ownership", "OwnershipLost", "advance", "load", "save_clock", "take"]


class OwnershipLost(StorageError):
    """Another worker took this partition over. This one must stop working on it."""

    code = "ownership_lost"


class Move(NamedTuple):
    """A topic's position moves from `low` to `high` (equal when nothing was read); `bound` as stored afterwards."""

    topic: str
    low: int
    high: int
    bound: int | None


@dataclass(frozen=True, slots=True)
class Ownership:
    """What is stored of one (processor, partition).

    `positions` and `bounds` per input topic (next offset; clock in ms of the latest progress record read, or None);
    `clock` in ms (0: never set); `highest` and `published_through` are outbox sequences.
    """

    epoch: int
    positions: Mapping[str, int]
    bounds: Mapping[str, int | None]
    clock: int
    highest: int
    published_through: int


_ADVANCE: Final = {
    "sqlite": (
        "UPDATE positions SET next_offset = ?, bound = ?"
        " WHERE processor = ? AND topic = ? AND partition = ? AND next_offset = ? AND epoch = ?"
    ),
    "postgresql": (
        "UPDATE positions SET next_offset = %s, bound = %s"
        " WHERE processor = %s AND topic = %s AND partition = %s AND next_offset = %s AND epoch = %s"
    ),
}
_SAVE_CLOCK: Final = {
    "sqlite": "UPDATE clocks SET clock = ? WHERE processor = ? AND partition = ? AND clock < ?",
    "postgresql": "UPDATE clocks SET clock = %s WHERE processor = %s AND partition = %s AND clock < %s",
}


def take(transaction: Transaction, processor: str, partition: int, topics: Sequence[str]) -> Ownership:
    """Become the owner of a partition: raise its epoch above every earlier owner's, and read what is stored.

    A transaction of an earlier owner that is still open is waited for; every later one of its moves finds no row.
    """
    insert = sqlite_insert if transaction.dialect == "sqlite" else postgresql_insert
    execute = transaction.connection.execute
    mine = {"processor": processor, "partition": partition}
    rows = [{**mine, "topic": topic, "next_offset": 0, "epoch": 0} for topic in sorted(topics)]
    execute(insert(positions).on_conflict_do_nothing(), rows)
    execute(insert(clocks).on_conflict_do_nothing(), {**mine, "clock": 0})
    execute(insert(relays).on_conflict_do_nothing(), {**mine, "highest": 0, "published_through": 0})
    owned = (positions.c.processor == processor) & (positions.c.partition == partition)
    # Locks the rows before the epoch is read: the newest owner always has the highest.
    execute(update(positions).where(owned).values(epoch=positions.c.epoch + 1))
    highest = execute(select(func.max(positions.c.epoch)).where(owned)).scalar_one()
    execute(update(positions).where(owned).values(epoch=highest))
    return load(transaction, processor, partition, topics)


def load(transaction: Transaction, processor: str, partition: int, topics: Sequence[str]) -> Ownership:
    """What is stored of a partition that was taken before. Raises `OwnershipLost` when nothing is."""
    execute = transaction.connection.execute
    found = execute(
        select(positions.c.topic, positions.c.next_offset, positions.c.epoch, positions.c.bound).where(
            (positions.c.processor == processor) & (positions.c.partition == partition)
        )
    )
    rows = {row.topic: (row.next_offset, row.epoch, row.bound) for row in found}
    if not all(topic in rows for topic in topics):
        raise OwnershipLost(f"No position of {processor} is stored for partition {partition}.")
    clock = execute(
        select(clocks.c.clock).where((clocks.c.processor == processor) & (clocks.c.partition == partition))
    ).scalar_one()
    highest, published = execute(
        select(relays.c.highest, relays.c.published_through).where(
            (relays.c.processor == processor) & (relays.c.partition == partition)
        )
    ).one()
    return Ownership(
        epoch=max(rows[topic][1] for topic in topics),
        positions={topic: rows[topic][0] for topic in topics},
        bounds={topic: rows[topic][2] for topic in topics},
        clock=clock,
        highest=highest,
        published_through=published,
    )


def advance(transaction: Transaction, processor: str, partition: int, epoch: int, moves: Sequence[Move]) -> None:
    """Move the position of every input topic, each by compare-and-set on its old offset and the owner's epoch.

    Raises `OwnershipLost` when one of them is not where this owner left it: the transaction must be rolled back.
    """
    parameters = [(move.high, move.bound, processor, move.topic, partition, move.low, epoch) for move in sorted(moves)]
    cursor = transaction.driver.cursor()
    try:
        cursor.executemany(_ADVANCE[transaction.dialect], parameters)
        moved = cursor.rowcount
    finally:
        cursor.close()
    if moved != len(parameters):
        raise OwnershipLost(
            f"Partition {partition} of {processor} is not where this worker left it: another worker took it over."
        )


def save_clock(transaction: Transaction, processor: str, partition: int, clock: int) -> None:
    """Store the clock of an owned partition (ms); it never goes back."""
    transaction.driver.execute(_SAVE_CLOCK[transaction.dialect], (clock, processor, partition, clock))
