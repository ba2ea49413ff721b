"""The outbox: records waiting to be published; their sequences are dense per (processor, partition). Synchronous."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.processing import Output
from schemas.records import Headers, Record
from services.storage.database import Transaction

__all__ = ["Chunk", "append", "mark_published", "read"]

_CHUNK_RECORDS: Final = 500
_CHUNK_BYTES: Final = 1_048_576

_INSERT: Final = {
    "sqlite": (
        "INSERT INTO outbox (processor, partition, first_sequence, last_sequence, records) VALUES (?, ?, ?, ?, ?)"
    ),
    "postgresql": (
        "INSERT INTO outbox (processor, partition, first_sequence, last_sequence, records) VALUES (%s, %s, %s, %s, %b)"
    ),
}
_HIGHEST: Final = {
    "sqlite": "UPDATE relays SET highest = ? WHERE processor = ? AND partition = ?",
    "postgresql": "UPDATE relays SET highest = %s WHERE processor = %s AND partition = %s",
}
_READ: Final = {
    "sqlite": (
        "SELECT first_sequence, records FROM outbox"
        " WHERE processor = ? AND partition = ? AND last_sequence > ? ORDER BY first_sequence LIMIT ?"
    ),
    "postgresql": (
        "SELECT first_sequence, records FROM outbox"
        " WHERE processor = %s AND partition = %s AND last_sequence > %s ORDER BY first_sequence LIMIT %s"
    ),
}
_PUBLISHED: Final = {
    "sqlite": "UPDATE relays SET published_through = ? WHERE processor = ? AND partition = ? AND published_through < ?",
    "postgresql": (
        "UPDATE relays SET published_through = %s WHERE processor = %s AND partition = %s AND published_through < %s"
    ),
}
_DELETE: Final = {
    "sqlite": "DELETE FROM outbox WHERE processor = ? AND partition = ? AND last_sequence <= ?",
    "postgresql": "DELETE FROM outbox WHERE processor = %s AND partition = %s AND last_sequence <= %s",
}


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[_Row]).decode


class Chunk(NamedTuple):
    """Records whose sequences run without a gap from `first`."""

    first: int
    records: tuple[Record, ...]


def append(transaction: Transaction, processor: str, partition: int, highest: int, outputs: Sequence[Output]) -> int:
    """Add records with the sequences after `highest`; return the new highest. The caller owns the partition."""
    if not outputs:
        return highest
    rows: list[_Row] = []
    size = 0
    first = highest + 1
    parameters: list[tuple[str, int, int, int, bytes]] = []
    for output in outputs:
        rows.append(_Row(output.topic, output.key, output.value, output.headers, output.timestamp))
        size += len(output.key) + len(output.value or b"")
        highest += 1
        if len(rows) >= _CHUNK_RECORDS or size >= _CHUNK_BYTES:
            parameters.append((processor, partition, first, highest, _encode(rows)))
            rows, size, first = [], 0, highest + 1
    if rows:
        parameters.append((processor, partition, first, highest, _encode(rows)))
    cursor = transaction.driver.cursor()
    try:
        cursor.executemany(_INSERT[transaction.dialect], parameters)
        cursor.execute(_HIGHEST[transaction.dialect], (highest, processor, partition))
    finally:
        cursor.close()
    return highest


def read(transaction: Transaction, processor: str, partition: int, after: int, limit: int) -> list[Chunk]:
    """At most `limit` chunks, in order of sequence, that hold records after the sequence `after`."""
    rows = transaction.driver.execute(_READ[transaction.dialect], (processor, partition, after, limit)).fetchall()
    return [
        Chunk(
            first,
            tuple(
                Record(row.topic, partition, row.key, row.value, row.headers, row.timestamp) for row in _decode(encoded)
            ),
        )
        for first, encoded in rows
    ]


def mark_published(transaction: Transaction, processor: str, partition: int, through: int) -> None:
    """Record that everything up to the sequence `through` is on the log, and drop it from the outbox."""
    execute = transaction.driver.execute
    execute(_PUBLISHED[transaction.dialect], (through, processor, partition, through))
    execute(_DELETE[transaction.dialect], (processor, partition, through))
