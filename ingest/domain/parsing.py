"""From a body to its events: one strict parser reads all of it once, a second look cuts out each event's own bytes."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ingest.domain.limits import MAX_BATCH
from ingest.errors import Refused

__all__ = ["Body", "parse_batch", "parse_event"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_ESCAPED_NUL: Final = b"\\u0000"


class Body(NamedTuple):
    """A request's events as they were parsed, beside the sender's own bytes of each, and what it says of them all.

    `envelope` is the JSON object around the batch (empty around a single event: everything stands in the event);
    `suspicious`: an escaped U+0000 stands somewhere in the text.
    """

    events: Sequence[Any]
    raw: Sequence[bytes | msgspec.Raw]
    envelope: dict[str, Any]
    suspicious: bool


class _Batch(msgspec.Struct, gc=False):
    batch: list[msgspec.Raw]


_strict = msgspec.json.Decoder()
_splitter = msgspec.json.Decoder(_Batch)


def parse_event(body: bytes) -> Body:
    """The body of a call with one event. Raises `Refused` with 400 for what is not one JSON object."""
    event, text = _object(body)
    return Body((event,), (text,), {}, _ESCAPED_NUL in text)


def parse_batch(body: bytes) -> Body:
    """The body of a batch: `{"batch": [...]}`. Raises `Refused` with 400 for JSON, 413 for too many events."""
    envelope, text = _object(body)
    events = envelope.get("batch")
    if not isinstance(events, list):
        raise Refused("expected_batch")
    if len(events) > MAX_BATCH:
        raise Refused("too_many_events")
    raw = _splitter.decode(text).batch
    return Body(events, raw, envelope, _ESCAPED_NUL in text)


def _object(body: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON object, and its bytes without a byte order mark or space around it."""
    text = body.removeprefix(_BYTE_ORDER_MARK).strip(b" \t\r\n")
    if not text:
        raise Refused("empty_body")
    try:
        value = _strict.decode(text)
    except RecursionError as error:
        raise Refused("json_depth") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Refused("invalid_json") from error
    if not isinstance(value, dict):
        raise Refused("expected_object")
    return value, text
