"""The event log port: what Parcours needs of a partitioned, durable log. Adapters: embedded (SQLite) and Kafka.

Errors are typed and arrive within the stated deadlines:

    LogError
    ├── LogUnavailable       the log cannot be reached, or did not answer in time; try again later
    ├── LogRefused           it does not let this client in, or is not who it should be; settings must change
    ├── LogBusy              too much waits for a partition already; nothing of this append was taken
    ├── LogNewer             a newer version of Parcours wrote it
    ├── LogClosed            this object was closed
    ├── UnknownTopic         the topic does not exist; run `parcours migrate`
    ├── TopicMismatch        an existing topic differs from the table; names the line that differs
    ├── RecordTooLarge       refused before it is appended
    ├── CorruptRecord        a stored record's checksum does not match; carries its place
    ├── OffsetOutOfRange     the stored position no longer (or not yet) exists in the log
    ├── Fenced               another publisher of the same name took over
    └── HistoryLost          the log and the database disagree about what was published
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas.records import Place, Record, StoredRecord
from schemas.topics import TopicSpec

__all__ = [
    "Answered",
    "CorruptRecord",
    "EventLog",
    "Fenced",
    "HistoryLost",
    "LogBusy",
    "LogClosed",
    "LogError",
    "LogNewer",
]
__all__ += ["LogRefused", "LogUnavailable", "OffsetOutOfRange", "PublisherState", "Reader", "RebalanceListener"]
__all__ += ["RecordTooLarge", "SequencedPublisher", "SequencedRecord", "TopicMismatch", "TopicPartition"]
__all__ += ["UnknownTopic", "Writer"]


class LogError(Exception):
    """The event log refused or failed. See the class of the error for the way out."""

    code = "log_error"


class LogUnavailable(LogError):
    """The event log did not answer in time. Nothing is known to be stored; send again later."""

    code = "log_unavailable"


class LogRefused(LogError):
    """The event log does not let this client in, or is not who it should be. Check the settings KAFKA_..."""

    code = "log_refused"


class LogBusy(LogError):
    """Too much waits already for a partition of the log. Nothing was taken; send it again after a moment."""

    code = "log_busy"


class LogNewer(LogError):
    """The event log was written by a newer version of Parcours. Start that one, or choose another data folder."""

    code = "log_newer"


class LogClosed(LogError):
    """This log, reader or writer is closed. Open a new one."""

    code = "log_closed"


class UnknownTopic(LogError):
    """The topic does not exist. Create the topics with `parcours migrate`."""

    code = "unknown_topic"


class TopicMismatch(LogError):
    """An existing topic differs from what Parcours needs. Change the named line of the topic, or use another log."""

    code = "topic_mismatch"


class RecordTooLarge(LogError):
    """The record is larger than its topic allows. Nothing was appended; send smaller events."""

    code = "record_too_large"


class CorruptRecord(LogError):
    """A stored record is damaged: its checksum does not match. Restore the file from a backup; nothing was skipped."""

    code = "corrupt_record"

    def __init__(self, place: Place) -> None:
        """`place` says where the damaged record stands."""
        super().__init__(
            f"The record at {place} is damaged: its checksum does not match. Restore the log from a backup."
        )
        self.place = place


class OffsetOutOfRange(LogError):
    """The stored position is not in the log any more. Rebuild the state from a backup, or restore the log."""

    code = "offset_out_of_range"


class Fenced(LogError):
    """Another publisher with the same name took over. This one must stop."""

    code = "fenced"


class HistoryLost(LogError):
    """The log and the database disagree about what was published. One of them was rolled back; restore the other."""

    code = "history_lost"


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class SequencedRecord(NamedTuple):
    """A record of the outbox: its sequence is dense per (processor, partition), starting at 1."""

    sequence: int
    record: Record


class PublisherState(NamedTuple):
    """What the database knows when a publisher opens: highest sequence ever given, and published through."""

    highest: int
    published_through: int


Answered = Callable[[Sequence[LogError | None]], None]
"""Told once what became of each record, in order."""


class Writer(Protocol):
    """Appends records for many callers at once (the door). One commit or broker round trip serves all in flight."""

    async def append(self, records: Sequence[Record]) -> list[LogError | None]:
        """Append records; return, in order, None for each that is durable or the error that kept it out.

        One bad record does not fail its neighbors. Raises `LogUnavailable` when nothing is known within the writer's
        deadline, `LogBusy` when too much waits already (then none of them is appended), `LogClosed` after close.
        Records for the same partition keep their order.
        """

    def submit(self, records: Sequence[Record], answered: Answered) -> bool:
        """Append records without a task: `answered` is called on the loop when all is known, after this returned.

        False: nothing was taken and nobody will be called, `append` would have to wait or to raise.
        """

    async def close(self) -> None:
        """Flush what is in flight and close. Idempotent."""


class RebalanceListener(Protocol):
    """Told by a reader which partitions it owns. Both calls run under the reader's lock, never during a poll."""

    async def assigned(self, partitions: frozenset[int]) -> Mapping[TopicPartition, int]:
        """Partitions newly owned (the same numbers of every subscribed topic); answer the offset to read each from."""

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Partitions no longer owned; returns once the batch in flight is done with."""


class Reader(Protocol):
    """One member of a group that shares the partitions of its topics. Every member subscribes to the same topics.

    The starting offset is what the listener answers; the group's own offsets are for lag tools only.
    """

    async def poll(self, max_records: int, timeout_ms: int) -> Mapping[TopicPartition, Sequence[StoredRecord]]:
        """Records that follow what was polled before, in offset order per partition; empty when there are none in time.

        Only committed records of publishers are seen. Raises `CorruptRecord`, `OffsetOutOfRange`, `LogUnavailable`,
        `LogClosed`.
        """

    def seek(self, position: TopicPartition, offset: int) -> None:
        """Read that partition from `offset` next (redelivery after a failure)."""

    def pause(self, partitions: frozenset[int]) -> None:
        """Return no records of these partition numbers until resumed."""

    def resume(self, partitions: frozenset[int]) -> None:
        """Undo `pause`."""

    def caught_up_at(self, position: TopicPartition) -> int | None:
        """Wall time (ms) of the latest answer of the log that held nothing more after what was polled, or None."""

    def read_to(self, position: TopicPartition) -> int | None:
        """The offset from which an owned partition is polled next, or None when not known yet.

        It is past every record polled, and past what a log keeps between records (such as the marks of transactions).
        """

    def end_offset(self, position: TopicPartition) -> int | None:
        """The last known end (last stable offset) of an owned partition, or None when not known yet."""

    @property
    def assignment(self) -> frozenset[int]:
        """The partition numbers owned now."""

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store group offsets for lag tools; a failure is logged and has no effect on correctness."""

    async def close(self) -> None:
        """Leave the group and close. Idempotent."""


class SequencedPublisher(Protocol):
    """Publishes the outbox of one (processor, partition) exactly once, across crashes, zombies and restarts."""

    async def open(self, state: PublisherState) -> int:
        """Fence every earlier publisher of this name; return the last sequence that is on the log.

        Raises `HistoryLost` when the log and `state` cannot both be right, `LogUnavailable` in time.
        """

    async def publish(self, records: Sequence[SequencedRecord]) -> None:
        """Publish records whose sequences follow the last one, atomically.

        Adds the headers processor, partition and sequence. Raises `Fenced`, or `LogUnavailable` when the outcome is
        unknown: then close, make a new publisher and open it.
        """

    async def close(self) -> None:
        """Close. Idempotent."""


class EventLog(Protocol):
    """A log of topics with partitions. `start` and `close` may be called twice."""

    async def start(self) -> None:
        """Connect or open. Raises `LogUnavailable` within its deadline, or `LogRefused`."""

    async def close(self) -> None:
        """Close everything made from this log. Idempotent."""

    async def create_topics(self, specs: Sequence[TopicSpec], partitions: int) -> list[str]:
        """Create what is missing (names returned) and check what exists.

        Raises `TopicMismatch` naming the line that differs.
        """

    async def check_topics(self, specs: Sequence[TopicSpec], partitions: int) -> None:
        """Check without creating. Raises `UnknownTopic` or `TopicMismatch` (also for another partition count)."""

    def writer(self) -> Writer:
        """A new writer with a deadline of 3 s per append."""

    async def reader(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> Reader:
        """Join `group`. Raises `UnknownTopic`, `LogUnavailable`."""

    def publisher(self, processor: str, partition: int) -> SequencedPublisher:
        """The publisher of (processor, partition)."""

    async def read(self, position: TopicPartition, offset: int, limit: int) -> Sequence[StoredRecord]:
        """Committed records of one partition from `offset`, for tools and pages; empty at the end."""

    async def bounds(self, position: TopicPartition) -> tuple[int, int]:
        """(first, next) offsets of a partition: next is the last stable offset."""
