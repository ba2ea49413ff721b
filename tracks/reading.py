"""From records to events: what an engine takes from the log, and what it refuses."""

from typing import NamedTuple

import msgspec

from behavior import Event, UnreadableEvent
from schemas.language_types import IDENTIFY
from schemas.records import BadRecord, StoredRecord, read_envelope, with_shared_traits
from schemas.times import parse_instant
from tracks.domain.rows import ActivityRow

__all__ = ["Arrival", "Facts", "fact_arrival", "read_event"]

# What the door lets through, with room to spare; an index entry of the activity must hold key and message id.
_MAX_KEY = 1_024
_MAX_ID = 256
_MAX_TEXT = 4_096
_MAX_INTEGER = 2**63
_LATEST = parse_instant("2100-12-31T23:59:59.999Z")


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """An event that arrived: the record that brought it, its row, and the event as the machine sees it."""

    record: StoredRecord
    row: ActivityRow
    event: Event


class Facts(NamedTuple):
    """What a record of changes adds to its subject's set, and the message ids that it takes out again."""

    added: tuple[Arrival, ...] = ()
    withdrawn: tuple[str, ...] = ()


def read_event(record: StoredRecord) -> Arrival:
    """The event in a record of an event topic. Raises `BadRecord` with a sentence that names what is wrong."""
    envelope = read_envelope(record)
    message_id, name, sequence = envelope.message_id, envelope.name, envelope.sequence
    flags = ",".join(envelope.flags)
    key, body = record.key or b"", record.value or b""
    if len(key) > _MAX_KEY or b"\0" in key:
        raise BadRecord("The record's key is too long, or holds the character U+0000.")
    if not message_id or not name:
        raise BadRecord("The header ce_id or ce_type is empty.")
    if len(message_id) > _MAX_ID or len(name) > _MAX_TEXT or len(envelope.source) > _MAX_TEXT:
        raise BadRecord("The header ce_id, ce_type or ce_source is too long.")
    if "\0" in message_id or "\0" in name or "\0" in envelope.source or "\0" in flags:
        raise BadRecord("A header holds the character U+0000.")
    if sequence is not None and not -_MAX_INTEGER <= sequence < _MAX_INTEGER:
        raise BadRecord("The header ce_sequence is not a 64-bit integer.")
    if not 0 <= envelope.received_at <= _LATEST:
        raise BadRecord("The record's timestamp lies outside the years 1970 to 2100.")
    if name == IDENTIFY:
        # A row is folded again without its record: what stood around the event must be in it.
        body = with_shared_traits(body, record.headers)
    return _arrival(
        record,
        ActivityRow(
            envelope.workspace,
            envelope.subject,
            message_id,
            record.partition,
            envelope.occurred_at,
            sequence,
            envelope.received_at,
            name,
            envelope.source,
            body,
            flags,
        ),
    )


def fact_arrival(record: StoredRecord, row: ActivityRow) -> Arrival:
    """A fact that a record of changes holds, as an element of its subject's set. Raises `BadRecord`."""
    return _arrival(record, row)


def _arrival(record: StoredRecord, row: ActivityRow) -> Arrival:
    event = Event(row.occurred_at, row.message_id, row.name, row.sequence, None, row.body)
    try:
        content = event.content()
    except UnreadableEvent as error:
        raise BadRecord("The value is not a JSON object, or its properties or traits are not.") from error
    return Arrival(record, row, Event(row.occurred_at, row.message_id, row.name, row.sequence, content))
