"""Publishing an outbox to the embedded log exactly once: the last sequence lies in the same file and transaction."""

from collections.abc import Sequence

from services.eventlog.embedded_store import Stream, Topic
from services.eventlog.embedded_writer import Committer, Unit, stored_form
from services.eventlog.port import Fenced, HistoryLost, LogClosed, LogUnavailable, PublisherState, SequencedRecord
from services.eventlog.sequences import check_dense, numbered

__all__ = ["EmbeddedPublisher"]

_WITHIN = 10.0


class EmbeddedPublisher:
    """The `SequencedPublisher` of the embedded log."""

    def __init__(self, committer: Committer, topics: dict[str, Topic], processor: str, partition: int) -> None:
        """One publisher of (processor, partition); `open` makes it the only one."""
        self._committer = committer
        self._topics = topics
        self._processor = processor
        self._partition = partition
        self._epoch: int | None = None
        self._last = 0
        self._closed = False

    async def open(self, state: PublisherState) -> int:
        """See `SequencedPublisher.open`."""
        if self._closed:
            raise LogClosed
        self._epoch, stored = await self._committer.run(self._take_over, _WITHIN)
        name = f"{self._processor}/{self._partition}"
        if stored is None and state.published_through > 0:
            raise HistoryLost(
                f"The event log knows nothing of {name}, and the database says that it published"
                f" {state.published_through} records. Restore the event log that belongs to this database."
            )
        self._last = stored or 0
        if self._last < state.published_through:
            raise HistoryLost(
                f"The event log holds {self._last} records of {name} and the database says {state.published_through}:"
                " the log was rolled back. Restore the event log that belongs to this database."
            )
        if self._last > state.highest:
            raise HistoryLost(
                f"The event log holds {self._last} records of {name} and the database gave only {state.highest}:"
                " the database was rolled back. Restore the database that belongs to this event log."
            )
        return self._last

    async def publish(self, records: Sequence[SequencedRecord]) -> None:
        """See `SequencedPublisher.publish`."""
        if self._closed:
            raise LogClosed
        epoch = self._epoch
        if epoch is None:
            raise LogUnavailable(
                "This publisher is not open: the outcome of its last batch is unknown. Open a new one."
            )
        if not records:
            return
        check_dense(records, self._last)
        stored = [stored_form(self._topics, numbered(item, self._processor, self._partition)) for item in records]
        last = records[-1].sequence
        self._epoch = None  # stays so when the outcome is unknown
        await self._committer.run(lambda unit: self._add(unit, epoch, stored, last), _WITHIN)
        self._epoch, self._last = epoch, last

    async def close(self) -> None:
        """See `SequencedPublisher.close`."""
        self._closed = True

    def _take_over(self, unit: Unit) -> tuple[int, int | None]:
        row = unit.connection.execute(
            "INSERT INTO publishers (processor, partition, epoch) VALUES (?, ?, 1)"
            " ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch, last_sequence",
            (self._processor, self._partition),
        ).fetchone()
        return row[0], row[1]

    def _add(self, unit: Unit, epoch: int, stored: Sequence[tuple[Stream, tuple[bytes, int]]], last: int) -> None:
        changed = unit.connection.execute(
            "UPDATE publishers SET last_sequence = ? WHERE processor = ? AND partition = ? AND epoch = ?",
            (last, self._processor, self._partition, epoch),
        ).rowcount
        if not changed:
            raise Fenced(f"Another publisher of {self._processor}/{self._partition} took over. This one stops.")
        for stream, encoded in stored:
            unit.append(stream, encoded)
