"""Topics as lines of configuration, under Apache Kafka's names, compared with what exists. Used by both adapters."""

from collections.abc import Mapping

from schemas.records import Record, record_size
from schemas.topics import TopicSpec
from services.eventlog.port import RecordTooLarge, TopicMismatch

__all__ = ["FRAMING_BYTES", "check_lines", "check_partitions", "size_error", "topic_lines"]

FRAMING_BYTES = 16_384
"""Room in a topic's limit for what the log itself adds to a record: lengths of headers, the header of a batch."""

_FOREVER = "-1"


def topic_lines(spec: TopicSpec) -> dict[str, str]:
    """The configuration of a topic, line by line."""
    return {
        "cleanup.policy": spec.cleanup.value,
        "retention.ms": _FOREVER if spec.retention is None else str(spec.retention),
        "max.message.bytes": str(spec.max_record_bytes + FRAMING_BYTES),
        "message.timestamp.type": "CreateTime",
    }


def check_lines(topic: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise `TopicMismatch` naming the first line of `wanted` that is otherwise in `found`."""
    for line, value in wanted.items():
        if found.get(line) != value:
            raise TopicMismatch(
                f"{topic}: {line} is {found.get(line, 'not set')}, should be {value}."
                " Change that line of the topic or the setting that it comes from, or use another log."
            )


def check_partitions(topic: str, found: int, wanted: int) -> None:
    """Raise `TopicMismatch` when the topic has another number of partitions."""
    if found != wanted:
        raise TopicMismatch(
            f"{topic}: partitions is {found}, should be {wanted}."
            f" Start with PARCOURS_PARTITIONS={found}, or use another log: the number is never changed later."
        )


def size_error(record: Record, limit: int) -> RecordTooLarge | None:
    """The error for a record that is larger than `limit` bytes (as `record_size` counts), or None."""
    size = record_size(record)
    if size <= limit:
        return None
    return RecordTooLarge(f"The record has {size} bytes and {record.topic} allows {limit}. Nothing of it was stored.")
