"""Records on topics: bytes, CloudEvents 1.0 headers in the Kafka binding's binary mode, and places."""

import re
from hashlib import blake2b
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from schemas.ids import InvalidId, split_key
from schemas.times import InvalidTime, format_instant, parse_instant
from schemas.topics import RECORD_OVERHEAD

__all__ = ["BadRecord", "EventEnvelope", "Headers", "Place", "Record", "StoredRecord"]
__all__ += ["ENVELOPE", "cloud_event_headers", "header", "message_id_of", "read_envelope", "record_size"]
__all__ += ["with_shared_traits"]

Headers = tuple[tuple[str, bytes], ...]

ENVELOPE: Final = "parcours_envelope"
"""The header with what the sender said once for all events of a batch: ``{"context": ..., "integrations": ...}``."""


class Place(NamedTuple):
    """Where a record stands: topic, partition, offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """``topic/partition@offset``."""
        return f"{self.topic}/{self.partition}@{self.offset}"


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record to append. `timestamp` is in milliseconds; the partition is chosen by the caller from the key."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as read from the log, with its offset."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int

    @property
    def place(self) -> Place:
        """Where this record stands."""
        return Place(self.topic, self.partition, self.offset)


class BadRecord(ValueError):
    """A record on a topic does not have the shape its topic promises. It is dead-lettered with its bytes and place."""

    code = "bad_record"


class EventEnvelope(msgspec.Struct, frozen=True, gc=False):
    """What the headers, key and timestamp of a record on `parcours.events` or `parcours.routed` say of the event.

    `name` is the event's name (`$identify`, `$group`, `$alias`, `Page Viewed`, `Screen Viewed` for the other calls);
    times are in milliseconds; `sequence` orders events of the same instant before the message id does.
    """

    workspace: str
    subject: str
    message_id: str
    name: str
    occurred_at: int
    received_at: int
    source: str = "/sources/default"
    sequence: int | None = None
    flags: tuple[str, ...] = ()

    def headers(self) -> Headers:
        """The CloudEvents headers of this event."""
        extra: list[tuple[str, bytes]] = []
        if self.sequence is not None:
            extra.append(("ce_sequence", str(self.sequence).encode()))
        if self.flags:
            extra.append(("ce_flags", ",".join(self.flags).encode()))
        return (*cloud_event_headers(self.message_id, self.name, self.source, self.occurred_at, self.subject), *extra)


_OWN_SOURCES: Final = ("/sources/", "/parcours/")
_LONGEST_ID: Final = 255
_HASHED: Final = "cloudevent-"
_IS_HASHED: Final = re.compile(r"cloudevent-[0-9a-f]{32}", re.ASCII)
_SPEC_VERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/json")


def cloud_event_headers(event_id: str, event_type: str, source: str, time: int, subject: str) -> Headers:
    """CloudEvents 1.0 attributes as record headers (Kafka protocol binding, binary content mode); `time` in ms."""
    return (
        _SPEC_VERSION,
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", format_instant(time).encode()),
        ("ce_subject", subject.encode()),
        _CONTENT_TYPE,
    )


def header(headers: Headers, name: str) -> str | None:
    """The first header of that name as text, or None. Raises `BadRecord` when it is not UTF-8."""
    for key, value in headers:
        if key == name:
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise BadRecord(f"The header {name} is not UTF-8.") from error
    return None


def message_id_of(source: str, event_id: str) -> str:
    """The message id of a record: its `ce_id`, or ``<ce_source>#<ce_id>`` where the source is a CloudEvents producer.

    CloudEvents are told apart by source and id together: two producers that both count 1, 2, 3 lose nothing. What our
    own sources send has an id of its own. Longer than 255 characters it is hashed. A message id stays as it is.
    """
    if not event_id or source.startswith(_OWN_SOURCES) or event_id.startswith(f"{source}#"):
        return event_id
    if event_id.startswith(_HASHED) and _IS_HASHED.fullmatch(event_id) is not None:
        return event_id
    both = f"{source}#{event_id}"
    return both if len(both) <= _LONGEST_ID else _HASHED + blake2b(both.encode(), digest_size=16).hexdigest()


def read_envelope(record: StoredRecord) -> EventEnvelope:
    """The envelope of a record on an event topic. Raises `BadRecord` with a sentence that names what is wrong."""
    if record.key is None or record.value is None:
        raise BadRecord("The record has no key or no value.")
    found = dict(record.headers)
    try:
        workspace, subject = split_key(record.key)
        sequence = found.get("ce_sequence")
        flags = found.get("ce_flags")
        source = found["ce_source"].decode()
        return EventEnvelope(
            workspace=workspace,
            subject=subject,
            message_id=message_id_of(source, found["ce_id"].decode()),
            name=found["ce_type"].decode(),
            occurred_at=parse_instant(found["ce_time"].decode()),
            received_at=record.timestamp,
            source=source,
            sequence=int(sequence) if sequence is not None else None,
            flags=tuple(flags.decode().split(",")) if flags else (),
        )
    except KeyError as error:
        raise BadRecord(f"The header {error.args[0]} is missing.") from error
    except (UnicodeDecodeError, InvalidId, InvalidTime, ValueError) as error:
        raise BadRecord(f"The record's headers or key cannot be read: {error}") from error


def with_shared_traits(body: bytes, headers: Headers) -> bytes:
    """An event's body whose `context.traits` also hold those that were said once for its whole batch; its own win.

    Without such it is the body itself, also if one of them is not what the door lets in. Values stay byte for byte.
    """
    value = next((value for name, value in headers if name == ENVELOPE), None)
    if value is None:
        return body
    try:
        shared = (_around.decode(value).context or _NO_CONTEXT).traits
        if not shared:
            return body
        call = _members.decode(body)
        context = _members.decode(call["context"]) if call.get("context", _NULL) != _NULL else {}
        own = _members.decode(context["traits"]) if context.get("traits", _NULL) != _NULL else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    context["traits"] = msgspec.Raw(msgspec.json.encode({**shared, **own}))
    return msgspec.json.encode({**call, "context": context})


class _Context(msgspec.Struct, gc=False):
    traits: dict[str, msgspec.Raw] | None = None


class _Around(msgspec.Struct, gc=False):
    context: _Context | None = None


_NO_CONTEXT: Final = _Context()
_NULL: Final = msgspec.Raw(b"null")
_around: Final = msgspec.json.Decoder(_Around)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def record_size(record: Record) -> int:
    """Bytes that a record counts against its topic's limit: key + value + headers + `RECORD_OVERHEAD`."""
    headers = sum(map(len, chain.from_iterable(record.headers)))
    return RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"") + headers
