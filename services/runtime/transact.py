"""One transaction of one partition: position by compare-and-set, the processor's work, outbox, clock. Synchronous."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec

from schemas.changes import Progress
from schemas.ids import DEFAULT_WORKSPACE, InvalidId, split_key
from schemas.processing import Batch, BatchResult, DeadLetter, Output, Wake
from schemas.records import Headers, StoredRecord, cloud_event_headers
from schemas.times import format_instant
from schemas.topics import REJECTED
from services.errors import ServiceError, code_of, sentence_of
from services.runtime.partition_clock import (
    InputState,
    carries_progress,
    clock_after,
    progress_clock,
    smallest_received,
)
from services.runtime.processor import Processor
from services.storage import outbox, positions
from services.storage.database import Database
from services.storage.errors import StorageError
from services.storage.positions import Move, Ownership

__all__ = ["PROGRESS_KEY", "Committed", "PartitionTransactor", "ProcessorFailed", "Reached", "Work"]
__all__ += ["dead_letter", "rejected_output"]

PROGRESS_KEY: Final = b"progress"
_REJECTED_TYPE: Final = "parcours.event.rejected"
_DETAIL_LENGTH: Final = 500


class Reached(NamedTuple):
    """An input topic of the partition is read to its end: nothing of it waits to be stored.

    `at` is the wall time (ms) of the log's latest answer that held nothing more; `offset` is polled next.
    """

    at: int
    offset: int


class ProcessorFailed(ServiceError):
    """The work itself failed, not the database. It is tried again in smaller parts."""

    code = "processor_failed"


@dataclass(frozen=True, slots=True)
class Work:
    """What one transaction is to do.

    `records` of all input topics in the order to process them; `dead` are records of that order that are given up
    instead; `reached` holds the input topics that are read to their ends once these records are stored; `wake_limit`:
    run due instants of at most so many subjects (None: no wake); `progress`: add a progress record even if nothing else
    is published.
    """

    reached: Mapping[str, Reached]
    records: Sequence[StoredRecord] = ()
    dead: Sequence[DeadLetter] = ()
    wake_limit: int | None = None
    progress: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction stored. `outputs` counts all records put in the outbox; `more`: further instants are due."""

    ownership: Ownership
    records: int
    outputs: int
    dead: int
    more: bool
    next_wake: int | None


def rejected_output(processor: str, letter: DeadLetter, now: int) -> Output:
    """The record on `parcours.rejected` for a dead letter: its bytes and place, the reason, its own headers and key."""
    record = letter.record
    try:
        workspace, subject = split_key(record.key or b"")
    except InvalidId:
        workspace, subject = DEFAULT_WORKSPACE, ""
    place = str(record.place)
    attributes = cloud_event_headers(f"{processor}:{place}", _REJECTED_TYPE, f"/processors/{processor}", now, subject)
    own: Headers = tuple(
        (name, value) for name, value in attributes if name != "content-type" and (subject or name != "ce_subject")
    )
    reason: Headers = (
        ("ce_reason", letter.code.encode()),
        ("ce_detail", " ".join(letter.detail.split())[:_DETAIL_LENGTH].encode("utf-8", "replace")),
        ("ce_place", place.encode()),
        ("orig_timestamp", str(record.timestamp).encode()),
    )
    original: Headers = tuple((f"orig_{name}", value) for name, value in record.headers)
    if record.key is not None:
        original = (("orig_key", record.key), *original)
    return Output(REJECTED, workspace.encode(), record.value, (*own, *reason, *original), now)


class PartitionTransactor:
    """Runs the transactions of one owned partition of a processor. Not for two threads at once."""

    def __init__(self, processor: Processor, database: Database, partition: int, settle: int) -> None:
        """The positions, the outbox and the processor's own tables are all in `database`; `settle` in ms."""
        self._processor = processor
        self._database = database
        self._partition = partition
        self._settle = settle

    def take(self) -> Ownership:
        """Become the owner. Raises `StorageUnavailable`."""
        with self._database.transaction() as transaction:
            taken = positions.take(transaction, self._processor.name, self._partition, self._processor.inputs)
            self._processor.take(transaction, self._partition)
            return taken

    def recover(self, epoch: int) -> Ownership:
        """Drop what is cached and read what is stored, after a transaction that failed or whose outcome is unknown.

        Raises `OwnershipLost` when the partition has a newer owner, `StorageUnavailable`.
        """
        self._processor.forget(self._partition)
        with self._database.transaction() as transaction:
            stored = positions.load(transaction, self._processor.name, self._partition, self._processor.inputs)
            if stored.epoch != epoch:
                raise positions.OwnershipLost(
                    f"Partition {self._partition} of {self._processor.name} was taken over by another worker."
                )
            self._processor.take(transaction, self._partition)
            return stored

    def release(self) -> None:
        """Drop what is cached: the ownership ends."""
        self._processor.forget(self._partition)

    def next_wake(self) -> int | None:
        """When the processor has something due (ms, by the partition's clock)."""
        return self._processor.next_wake(self._partition)

    def after(self, owned: Ownership, work: Work) -> Ownership:
        """What is stored once the work is done, but for the outbox: positions, bounds and clock."""
        by_topic: dict[str, list[StoredRecord]] = {topic: [] for topic in owned.positions}
        for record in work.records:
            by_topic[record.topic].append(record)
        places, bounds = dict(owned.positions), dict(owned.bounds)
        for letter in work.dead:
            places[letter.record.topic] = max(places[letter.record.topic], letter.record.offset + 1)
        states: list[InputState] = []
        for topic, records in by_topic.items():
            if records:
                places[topic] = max(places[topic], records[-1].offset + 1)
                if carries_progress(topic):
                    bounds[topic] = _later(bounds[topic], progress_clock(records))
            reached = work.reached.get(topic)
            if reached is not None:
                places[topic] = max(places[topic], reached.offset)
            received = smallest_received(topic, records)
            states.append(InputState(topic, reached.at if reached else None, received, bounds[topic]))
        clock = clock_after(owned.clock, states, self._settle)
        return replace(owned, positions=places, bounds=bounds, clock=clock)

    def run(self, owned: Ownership, work: Work, now: int) -> Committed:
        """Do the work in one transaction; `now` is the wall time in ms.

        Raises `OwnershipLost`, `StorageUnavailable`, `StorageBroken`, or `ProcessorFailed` when the work is at fault.
        The transaction is rolled back then, and `recover` must be called before the next one.
        """
        after = self.after(owned, work)
        moves = [
            Move(topic, low, after.positions[topic], after.bounds[topic]) for topic, low in owned.positions.items()
        ]
        try:
            with self._database.transaction() as transaction:
                name, partition = self._processor.name, self._partition
                positions.advance(transaction, name, partition, owned.epoch, moves)
                result = BatchResult()
                if work.records:
                    batch = Batch(partition, work.records, after.clock, now, after.positions)
                    result = self._processor.process(transaction, batch)
                elif work.wake_limit is not None:
                    wake = Wake(partition, after.clock, now, work.wake_limit, after.positions)
                    result = self._processor.wake(transaction, wake)
                dead = (*work.dead, *result.dead_letters)
                outputs = [*result.outputs, *(rejected_output(name, letter, now) for letter in dead)]
                if outputs or work.progress:
                    outputs.extend(self._progress(after, now, owned.highest + len(outputs) + 1))
                highest = outbox.append(transaction, name, partition, owned.highest, outputs)
                if after.clock > owned.clock:
                    positions.save_clock(transaction, name, partition, after.clock)
        except StorageError:
            raise
        except Exception as error:
            raise ProcessorFailed(sentence_of(error)) from error
        return Committed(
            ownership=replace(after, highest=highest),
            records=len(work.records),
            outputs=len(outputs),
            dead=len(dead),
            more=result.more,
            next_wake=self._processor.next_wake(self._partition),
        )

    def _progress(self, after: Ownership, now: int, sequence: int) -> Iterable[Output]:
        topic, kind = self._processor.progress_topic, self._processor.progress_type
        if topic is None or kind is None:
            return ()
        name, partition = self._processor.name, self._partition
        progress = Progress(name, partition, dict(after.positions), format_instant(after.clock))
        headers = cloud_event_headers(
            f"{name}:{partition}:{sequence}", kind, f"/processors/{name}", now, f"partition:{partition}"
        )
        return (Output(topic, PROGRESS_KEY, msgspec.json.encode(progress), headers, now),)


def _later(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return max(first, second)


def dead_letter(record: StoredRecord, error: ProcessorFailed) -> DeadLetter:
    """The dead letter of a record that fails alone again and again."""
    cause = error.__cause__ or error
    code = code_of(cause)
    return DeadLetter(record, "processing_failed" if code == "unexpected" else code, sentence_of(cause))
