"""The file of the embedded log: its tables, how records lie in it, and how they are read back.

A commit writes the records of one partition as one row: a *segment*. Its id carries the stream (a topic's partition)
and the offset of its first record, so segments of a stream follow each other in the table's own order and need no
index. Inside, each record is framed by its length and a checksum over its bytes, its partition and its offset.
"""

import sqlite3
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from schemas.records import Headers, Place, Record, StoredRecord
from services.eventlog.port import CorruptRecord, LogError, LogNewer, LogUnavailable, OffsetOutOfRange

__all__ = ["Fetched", "Stream", "Topic", "Want", "connect", "encoded_record", "failure", "first_id", "frame"]
__all__ += ["load_topics", "prune_stream", "read_stream", "read_streams", "snapshot", "stream_bounds"]

FORMAT = 1
APPLICATION = 0x50524C47
OFFSET_BITS = 40
SEGMENT_BYTES = 256 * 1024
_BUSY_SECONDS = 5.0
_CHECKPOINT_PAGES = 4_096
_FRAME = struct.Struct("<II")
_OFFSETS = (1 << OFFSET_BITS) - 1

_SCHEMA = """
CREATE TABLE topics (
    name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, max_record_bytes INTEGER NOT NULL, retention INTEGER,
    lines TEXT NOT NULL
) STRICT;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL DEFAULT 0, next_offset INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
) STRICT;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, records INTEGER NOT NULL, newest INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE TABLE positions (
    name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (name, topic, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE publishers (
    processor TEXT NOT NULL, partition INTEGER NOT NULL, epoch INTEGER NOT NULL, last_sequence INTEGER,
    PRIMARY KEY (processor, partition)
) STRICT, WITHOUT ROWID;
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes | None, bytes | None, Headers, int]).decode


@dataclass(frozen=True, slots=True)
class Stream:
    """One partition of a topic: its number in the file, and the seed of its records' checksums."""

    id: int
    topic: str
    partition: int
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        """Derive the seed, so that a record found in another partition does not pass for one of this."""
        object.__setattr__(self, "seed", zlib.crc32(f"{self.topic}/{self.partition}".encode()))


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is stored: its streams by partition, limit, retention (ms or None) and configuration lines."""

    name: str
    streams: tuple[Stream, ...]
    max_record_bytes: int
    retention: int | None
    lines: Mapping[str, str]


class _Segment(NamedTuple):
    base: int
    records: int
    data: bytes


def connect(path: Path, max_bytes: int | None = None) -> sqlite3.Connection:
    """Open the file, making it if it is missing. `max_bytes` bounds its size.

    The connection is in autocommit mode and may be used from any one thread at a time.
    Raises `LogUnavailable` when it cannot be opened now, `LogError` when it is no event log.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise LogUnavailable(f"The event log {path} cannot be opened ({error}): give access to it.") from error
    try:
        _refuse_others(connection, path)  # before anything is written to it
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        _make_tables(connection)
        if max_bytes is not None:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page)}")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise failure(error) from error
        if isinstance(error, sqlite3.DatabaseError):
            raise LogError(
                f"{path} is not an event log of Parcours ({error}). Move it away, then start again."
            ) from error
        raise
    return connection


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and tables:
        raise LogError(f"{path} is not an event log of Parcours. Move it away, then start again.")
    if version > FORMAT:
        raise LogNewer(
            f"The event log {path} was written by a newer version of Parcours. Start the newer program, or choose"
            " another PARCOURS_DATA_DIR."
        )


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


def failure(error: sqlite3.Error) -> LogUnavailable:
    """What an error of SQLite means for whoever waits for the log."""
    if getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
        return LogUnavailable("The disk of the event log is full. Nothing was stored; make room and send again.")
    return LogUnavailable(f"The event log's file does not answer ({error}). Nothing is known to be stored.")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Every read inside sees the same state of the file. Raises `LogUnavailable` when the file does not answer."""
    try:
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise failure(error) from error


def load_topics(connection: sqlite3.Connection) -> dict[str, Topic]:
    """All topics by name."""
    streams: dict[str, list[Stream]] = {}
    for row in connection.execute("SELECT id, topic, partition FROM streams ORDER BY topic, partition"):
        streams.setdefault(row[1], []).append(Stream(*row))
    rows = connection.execute("SELECT name, max_record_bytes, retention, lines FROM topics").fetchall()
    return {
        name: Topic(name, tuple(streams[name]), limit, retention, msgspec.json.decode(lines, type=dict[str, str]))
        for name, limit, retention, lines in rows
    }


def first_id(stream: Stream, offset: int = 0) -> int:
    """The id that a segment of this stream beginning at `offset` has."""
    return stream.id << OFFSET_BITS | offset


def frame(stream: Stream, base: int, encoded: Sequence[tuple[bytes, int]]) -> Iterator[tuple[int, int, int, bytes]]:
    """Rows of `segments` (id, records, newest, data) for encoded records and their timestamps, from offset `base`."""
    parts: list[bytes] = []
    first, size, newest = base, 0, 0
    for offset, (body, timestamp) in enumerate(encoded, start=base):
        parts.append(_FRAME.pack(len(body), zlib.crc32(body, stream.seed + offset & 0xFFFFFFFF)))
        parts.append(body)
        size += len(body)
        newest = max(newest, timestamp)
        if size >= SEGMENT_BYTES:
            yield first_id(stream, first), offset + 1 - first, newest, b"".join(parts)
            parts, first, size, newest = [], offset + 1, 0, 0
    if parts:
        yield first_id(stream, first), base + len(encoded) - first, newest, b"".join(parts)


def encoded_record(record: Record) -> tuple[bytes, int]:
    """A record's bytes as they are stored, and its timestamp."""
    return _encode((record.key, record.value, record.headers, record.timestamp)), record.timestamp


def stream_bounds(connection: sqlite3.Connection, stream: Stream) -> tuple[int, int]:
    """(first, next) offsets of a stream."""
    row = connection.execute("SELECT first_offset, next_offset FROM streams WHERE id = ?", (stream.id,)).fetchone()
    return row[0], row[1]


def read_stream(
    connection: sqlite3.Connection, stream: Stream, offset: int, max_records: int, max_bytes: int
) -> list[StoredRecord]:
    """Records from `offset`, at most `max_records` and, after the first, about `max_bytes`; empty at the end.

    Raises `OffsetOutOfRange`, and `CorruptRecord` when the record at `offset` is damaged; records before a damaged
    one are returned first.
    """
    first, end = stream_bounds(connection, stream)
    if not first <= offset <= end:
        raise OffsetOutOfRange(
            f"Offset {offset} of {stream.topic}/{stream.partition} is not in the event log, which holds {first} to"
            f" {end}. Restore the log or the state from a backup that belongs to the other."
        )
    found: list[StoredRecord] = []
    try:
        if offset < end:
            for segment in _segments(connection, stream, offset, end):
                max_bytes -= _unframe(segment, stream, offset + len(found), max_records, found)
                if len(found) >= max_records or max_bytes <= 0:
                    break
    except CorruptRecord:
        if not found:
            raise
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise CorruptRecord(Place(stream.topic, stream.partition, offset)) from error
    return found


def _segments(connection: sqlite3.Connection, stream: Stream, offset: int, end: int) -> Iterator[_Segment]:
    """The segments that hold the offsets from `offset` to `end`, without a gap. Raises `CorruptRecord` at a gap."""
    at = first_id(stream, offset)
    (start,) = connection.execute(
        "SELECT max(id) FROM segments WHERE id BETWEEN ? AND ?", (first_id(stream), at)
    ).fetchone()
    rows = connection.execute(
        "SELECT id, records, data FROM segments WHERE id >= ? AND id < ? ORDER BY id",
        (at if start is None else start, first_id(stream, end)),
    )
    expected = offset
    for identifier, records, data in rows:
        base = identifier & _OFFSETS
        if base > expected or base + records <= expected:
            break
        expected = base + records
        yield _Segment(base, records, data)
    if expected < end:
        raise CorruptRecord(Place(stream.topic, stream.partition, expected))


def _unframe(segment: _Segment, stream: Stream, offset: int, max_records: int, found: list[StoredRecord]) -> int:
    """Add the segment's records from `offset` on to `found`, up to `max_records` in all; return their bytes."""
    topic, partition, seed = stream.topic, stream.partition, stream.seed
    data = memoryview(segment.data)
    at, total = 0, 0
    for place in range(segment.base, segment.base + segment.records):
        try:
            length, checksum = _FRAME.unpack_from(data, at)
            body = data[at + _FRAME.size : at + _FRAME.size + length]
            at += _FRAME.size + length
            if place < offset:
                continue
            if len(found) >= max_records:
                break
            if zlib.crc32(body, seed + place & 0xFFFFFFFF) != checksum or len(body) != length:
                raise CorruptRecord(Place(topic, partition, place))
            key, value, headers, timestamp = _decode(body)
        except (struct.error, msgspec.MsgspecError) as error:
            raise CorruptRecord(Place(topic, partition, place)) from error
        found.append(StoredRecord(topic, partition, place, key, value, headers, timestamp))
        total += length
    return total


class Want(NamedTuple):
    """What a poll asks of one stream."""

    stream: Stream
    offset: int


class Fetched(NamedTuple):
    """What a poll got from one stream, and where the stream ended when it was read."""

    records: Sequence[StoredRecord]
    end: int


def read_streams(
    connection: sqlite3.Connection, wants: Sequence[Want], max_records: int, max_bytes: int
) -> list[Fetched]:
    """Read several streams in one snapshot, each getting a fair share of the limits. Raises as `read_stream` does."""
    with snapshot(connection):
        answers = [Fetched((), stream_bounds(connection, want.stream)[1]) for want in wants]
        ready = [index for index, want in enumerate(wants) if want.offset != answers[index].end]
        for rank, index in enumerate(ready):
            if max_records <= 0 or (max_bytes <= 0 and rank):
                break
            stream, offset = wants[index]
            streams_left = len(ready) - rank
            share, byte_share = -(-max_records // streams_left), -(-max_bytes // streams_left)
            records = read_stream(connection, stream, offset, share, byte_share)
            answers[index] = Fetched(records, answers[index].end)
            max_records -= len(records)
            max_bytes -= sum(len(record.value or b"") for record in records)
        return answers


def prune_stream(connection: sqlite3.Connection, stream: Stream, older_than: int, keep_from: int, at_most: int) -> int:
    """Delete whole segments from the front whose newest record is older than `older_than` (ms).

    Keeps everything from the offset `keep_from`, and deletes at most so many segments. Returns how many.
    """
    first, end = stream_bounds(connection, stream)
    kept, doomed = first, []
    for identifier, records, newest in connection.execute(
        "SELECT id, records, newest FROM segments WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (first_id(stream, first), first_id(stream, end), at_most),
    ):
        following = (identifier & _OFFSETS) + records
        if newest >= older_than or following > keep_from:
            break
        kept = following
        doomed.append((identifier,))
    if doomed:
        connection.executemany("DELETE FROM segments WHERE id = ?", doomed)
        connection.execute("UPDATE streams SET first_offset = ? WHERE id = ?", (kept, stream.id))
    return len(doomed)
