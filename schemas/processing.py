"""What a processor is given and gives back: batches of one partition, outputs and dead letters."""

from collections.abc import Mapping, Sequence

import msgspec

from schemas.records import Headers, StoredRecord

__all__ = ["Batch", "BatchResult", "DeadLetter", "Output", "Wake"]


class Output(msgspec.Struct, frozen=True, gc=False):
    """A record to publish through the outbox. It goes to the partition whose batch produced it; `timestamp` in ms."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers
    timestamp: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that can never be processed: kept with its bytes and place, under a stable code and a sentence."""

    record: StoredRecord
    code: str
    detail: str


class Batch(msgspec.Struct, frozen=True):
    """Records of one partition, of all input topics, each topic's in offset order.

    `clock` is the partition's clock in ms (silence counts by it), `now` the wall time in ms (for `recorded_at`),
    `positions` the next offset per input topic once this batch is stored.
    """

    partition: int
    records: Sequence[StoredRecord]
    clock: int
    now: int
    positions: Mapping[str, int]


class Wake(msgspec.Struct, frozen=True):
    """Due instants up to `clock` are to be run for at most `limit` subjects of the partition; `now` is wall time."""

    partition: int
    clock: int
    now: int
    limit: int
    positions: Mapping[str, int]


class BatchResult(msgspec.Struct, frozen=True):
    """What came of a batch or a wake: records to publish in order, dead letters, and whether more is due at once."""

    outputs: Sequence[Output] = ()
    dead_letters: Sequence[DeadLetter] = ()
    more: bool = False
