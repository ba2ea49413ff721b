"""From a body to its events: what is around them is read at once, each event is cut out and read when its turn comes.

A strict parser sees every byte of what is kept. What is long is looked through before it is made into objects, because
a few bytes of JSON can stand for a hundred times as many in memory.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ingest.domain.limits import MAX_BATCH, MAX_DEPTH, MAX_EVENT
from ingest.errors import Refused

__all__ = ["UNREAD", "Body", "Envelope", "counting", "json_text", "parse_batch", "parse_event", "read_event"]
__all__ += ["depth_of", "is_deeper", "nul_in"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_ESCAPED_NUL: Final = b"\\u0000"
_DECODED_AT_ONCE: Final = 64 * 1024
_TOKENS_AT_ONCE: Final = 20_000
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},]', re.DOTALL)
_OPENING, _CLOSING, _COMMA = frozenset(b"[{"), frozenset(b"]}"), ord(",")
_MAX_KEY: Final = 1_024
_MAX_TIME: Final = 128
_SMALL_ENVELOPE: Final = 4 * 1024
_ALL_ENVELOPES: Final = 4 * 1024 * 1024
_NESTING: Final = frozenset((dict, list))
_EMPTY: Final = (b"", b"null", b"{}")
_TO_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS: Final = bytes(set(range(256)).difference(b"[]{}"))

UNREAD: Final = object()
"""In place of a single event that is too long to be read."""


class Envelope(NamedTuple):
    """What a request says around its events.

    `context` is the one that all events share; `kept` are the bytes of it, and of `integrations`, that go along with
    each event as `{"context":..., "integrations":...}`; `dropped`: there is more than can go along.
    """

    write_key: str | None = None
    sent_at: str | None = None
    context: dict[str, Any] | None = None
    kept: bytes | None = None
    dropped: bool = False


class Body(NamedTuple):
    """A request's events, as the sender's own bytes of each, and what it says around them.

    `suspicious`: an escaped U+0000 stands somewhere in the text; `event` is the event of a call with just one (`UNREAD`
    if it is too long).
    """

    raw: Sequence[bytes | msgspec.Raw]
    envelope: Envelope
    suspicious: bool
    event: Any = None


_NOTHING: Final = msgspec.Raw()
_PLAIN: Final = Envelope()


class _Around(msgspec.Struct, gc=False):
    write_key: msgspec.Raw = msgspec.field(name="writeKey", default=_NOTHING)
    sent_at: msgspec.Raw = msgspec.field(name="sentAt", default=_NOTHING)


class _Batch(_Around, gc=False):
    batch: list[msgspec.Raw] | None = None
    context: msgspec.Raw = _NOTHING
    integrations: msgspec.Raw = _NOTHING


class _TooMany(ValueError):
    """More events than a batch may hold. Send smaller batches."""

    code = "too_many_events"


class _Counted(msgspec.Struct, gc=False):
    """An object that is looked over and counted. The decoder stops at the first one too many."""

    def __post_init__(self) -> None:
        _counter.seen += 1
        if _counter.seen > MAX_BATCH:
            raise _TooMany


class _Counter:
    seen = 0


class _CountedBatch(msgspec.Struct, gc=False):
    batch: list[_Counted] = []


_counter = _Counter()
_strict = msgspec.json.Decoder()
_anything = msgspec.json.Decoder(msgspec.Raw)
_around = msgspec.json.Decoder(_Around)
_splitter = msgspec.json.Decoder(_Batch)
_counted = msgspec.json.Decoder(_CountedBatch)


def json_text(body: bytes) -> bytes:
    """The text of a body without a byte order mark or space around it.

    Raises `Refused`: ``empty_body``, ``invalid_json`` for what is not UTF-8.
    """
    text = body.removeprefix(_BYTE_ORDER_MARK).strip(_SPACE)
    if not text:
        raise Refused("empty_body")
    if not text.isascii():
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for start in range(0, len(text), _DECODED_AT_ONCE):
                decoder.decode(text[start : start + _DECODED_AT_ONCE])
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise Refused("invalid_json") from error
    return text


def read_event(raw: bytes) -> Any:
    """The value of an event's own bytes. Raises `Refused` with 400."""
    try:
        return _strict.decode(raw)
    except RecursionError as error:
        raise Refused("json_depth") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Refused("invalid_json") from error


def parse_event(text: bytes, max_event: int = MAX_EVENT) -> Body:
    """The body of a call with one event (`json_text`). Raises `Refused` with 400 for what is not one JSON object."""
    if len(text) > max_event:
        around = _object(_around, text)
        envelope = Envelope(write_key=_text_of(around.write_key, _MAX_KEY))
        return Body((text,), envelope, True, UNREAD)
    event = read_event(text)
    if not isinstance(event, dict):
        raise Refused("expected_object")
    key = event.get("writeKey")
    envelope = _PLAIN if key is None or not isinstance(key, str) else Envelope(write_key=key)
    return Body((text,), envelope, _ESCAPED_NUL in text, event)


def counting(text: bytes) -> Iterator[None]:
    """Makes sure that a batch (`json_text`) holds no more events than allowed, before an object is made for each.

    To be run to its end; it stops now and then for others to have their turn. Raises `Refused` ``too_many_events``.
    """
    if text.count(b",") < MAX_BATCH:
        return
    _counter.seen = 0
    try:
        _counted.decode(text)
    except msgspec.ValidationError as error:
        if _counter.seen > MAX_BATCH:
            raise Refused("too_many_events") from error
    except (msgspec.DecodeError, RecursionError, ValueError):
        return
    else:
        return
    # Not all of the events are objects, or there is no list of them: seldom, and slower to find out.
    depth = commas = 0
    for number, token in enumerate(_TOKEN.finditer(text), 1):
        if number % _TOKENS_AT_ONCE == 0:
            yield
        sign = text[token.start()]
        if sign in _OPENING:
            depth += 1
            commas = commas if depth > 2 else 0
        elif sign in _CLOSING:
            depth -= 1
        elif sign == _COMMA and depth == 2:
            commas += 1
            if commas >= MAX_BATCH:
                raise Refused("too_many_events")


def parse_batch(text: bytes) -> Body:
    """The body of a batch (`json_text`, after `counting`): `{"batch": [...]}`. Raises `Refused` with 400, 413."""
    found = _object(_splitter, text)
    if found.batch is None:
        raise Refused("expected_batch")
    if len(found.batch) > MAX_BATCH:
        raise Refused("too_many_events")
    suspicious = _ESCAPED_NUL in text
    context, kept, dropped = _shared(bytes(found.context), bytes(found.integrations), len(found.batch), suspicious)
    envelope = Envelope(_text_of(found.write_key, _MAX_KEY), _text_of(found.sent_at, _MAX_TIME), context, kept, dropped)
    return Body(found.batch, envelope, suspicious)


def _object(decoder: msgspec.json.Decoder[Any], text: bytes) -> Any:
    """The object, or the `Refused` that says how the text is none."""
    try:
        if text[:1] == b"{":
            return decoder.decode(text)
        _anything.decode(text)
    except msgspec.ValidationError as error:
        raise Refused("expected_batch") from error
    except RecursionError as error:
        raise Refused("json_depth") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Refused("invalid_json") from error
    raise Refused("expected_object")


def _text_of(raw: msgspec.Raw, longest: int) -> str | None:
    """The text that stands there, if it is one, and not too long to be what it is taken for."""
    given = bytes(raw)
    if given[:1] != b'"' or len(given) > longest:
        return None
    value = read_event(given)
    return value if isinstance(value, str) else None


def _shared(
    context: bytes, integrations: bytes, events: int, suspicious: bool
) -> tuple[dict[str, Any] | None, bytes | None, bool]:
    """What all events share: the context's value, the bytes that go along with each event, and whether any cannot."""
    given = [
        (name, text) for name, text in (("context", context), ("integrations", integrations)) if text not in _EMPTY
    ]
    if not given:
        return None, None, False
    if len(context) + len(integrations) > MAX_EVENT or (suspicious and _ESCAPED_NUL in context + integrations):
        return None, None, True
    values = {name: read_event(text) for name, text in given}
    found = values.get("context")
    shared = found if isinstance(found, dict) else None
    kept = b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), text) for name, text in given)
    sound = all(isinstance(value, dict) for value in values.values()) and depth_of(values) <= MAX_DEPTH
    traits = shared.get("traits") if shared is not None else None
    if not sound or (traits is not None and not isinstance(traits, dict)):
        return shared, None, True
    if len(kept) > _SMALL_ENVELOPE and len(kept) * events > _ALL_ENVELOPES:
        return shared, None, True
    return shared, kept, False


def depth_of(value: Any) -> int:
    """How many levels of objects and lists. Level by level, so that no input can exhaust the stack."""
    depth = 0
    level = [value] if type(value) in _NESTING else []
    while level:
        depth += 1
        level = [
            inner
            for found in level
            for inner in (found.values() if type(found) is dict else found)
            if type(inner) in _NESTING
        ]
    return depth


def is_deeper(text: bytes, levels: int) -> bool:
    """Whether a JSON text has more levels of objects and lists than these.

    It looks at the text: that takes a tenth of the time of going through the value, where there are many brackets.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    left = b"".join(text.split(b'"')[::2]).translate(_TO_BRACES, _NO_BRACKETS)
    for _ in range(levels):
        left = left.replace(b"{}", b"")
    return left != b""


def nul_in(text: bytes) -> bool:
    """Whether U+0000 stands escaped anywhere in a JSON text."""
    return _ESCAPED_NUL in text and _ESCAPED_NUL in text.replace(b"\\\\", b"")
