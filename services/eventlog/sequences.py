"""Sequences of an outbox: dense, and written on every published record. Used by both adapters."""

from collections.abc import Sequence

from schemas.records import Headers, Record, StoredRecord
from services.eventlog.port import HistoryLost, SequencedRecord

__all__ = ["PARTITION_HEADER", "PROCESSOR_HEADER", "SEQUENCE_HEADER", "check_dense", "numbered", "sequence_headers"]
__all__ += ["sequence_of"]

PROCESSOR_HEADER = "processor"
PARTITION_HEADER = "partition"
SEQUENCE_HEADER = "sequence"


def sequence_headers(processor: str, partition: int, sequence: int) -> Headers:
    """The headers that say whose outbox a record came from, and its place there."""
    return (
        (PROCESSOR_HEADER, processor.encode()),
        (PARTITION_HEADER, str(partition).encode()),
        (SEQUENCE_HEADER, str(sequence).encode()),
    )


def numbered(item: SequencedRecord, processor: str, partition: int) -> Record:
    """The record with the headers of its sequence after its own."""
    record = item.record
    headers = (*record.headers, *sequence_headers(processor, partition, item.sequence))
    return Record(record.topic, record.partition, record.key, record.value, headers, record.timestamp)


def check_dense(records: Sequence[SequencedRecord], last: int) -> None:
    """Raise `HistoryLost` unless the sequences go on from `last` without a gap."""
    for expected, item in enumerate(records, start=last + 1):
        if item.sequence != expected:
            raise HistoryLost(
                f"The outbox gave sequence {item.sequence} where {expected} follows: its table was changed by hand"
                " or restored in part. Restore the database from a backup."
            )


def sequence_of(record: StoredRecord, processor: str, partition: int) -> int | None:
    """The sequence of a record in the outbox of (processor, partition), or None when it came from elsewhere."""
    found = dict(record.headers)
    if found.get(PROCESSOR_HEADER) != processor.encode() or found.get(PARTITION_HEADER) != str(partition).encode():
        return None
    sequence = found.get(SEQUENCE_HEADER, b"")
    return int(sequence) if sequence.isdigit() else None
