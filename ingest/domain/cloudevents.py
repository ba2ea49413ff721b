"""CloudEvents 1.0 over HTTP: which mode a request is in, what its headers say, and what each event consists of.

Whatever the mode, an event ends as the JSON object of the structured mode: one way to check it, one form to keep.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from ingest.domain.limits import MAX_EVENT
from ingest.errors import Refused, Unacceptable

__all__ = ["Attributes", "CloudEvent", "Mode", "ce_headers", "check_repeated", "decoded_header", "from_binary"]
__all__ += ["mode_of", "parsed_json", "read_event"]

Attributes = Mapping[str, str | int | bool]
"""The attributes of an event by name, extensions among them; without `data`."""

_EVENTS: Final = b"application/cloudevents"
_PREFIX: Final = b"ce-"
_FORMS: Final = (b"multipart/", b"application/x-www-form-urlencoded")
_UTF8: Final = (b"", b"utf-8", b"utf8", b"us-ascii")
_REQUIRED: Final = ("id", "source", "type", "specversion")
_TEXTS: Final = frozenset((*_REQUIRED, "subject", "time", "datacontenttype", "dataschema"))
_NOT_IN_HEADERS: Final = ("data", "data_base64", "datacontenttype")
_NAME: Final = re.compile(r"[a-z0-9]+", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT: Final = re.compile(rb"%(?:([0-9A-Fa-f]{2})|)")
_PLAIN: Final = re.compile(rb"[\x20-\x7e]*")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_MAX_SOURCE: Final = 1_024
_OURS: Final = "/parcours/"
_INTEGERS: Final = range(-(2**31), 2**31)

_strict: Final = msgspec.json.Decoder()
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Mode(StrEnum):
    """How a request carries its events: attributes in headers, one JSON object, a list of them, or either of these."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCH = "batch"
    JSON = "json"


class CloudEvent(NamedTuple):
    """One event that is as the specification wants it.

    `raw` is its JSON object. `data` is the parsed data where that is JSON by its type, and `data_json` its bytes; for
    any other type (text, XML, bytes as base64) `data_json` is an object that holds it, unread. Both None: no data.
    """

    raw: bytes
    attributes: Attributes
    data: Any
    data_json: bytes | None


def mode_of(content_type: bytes | None, attributes: bool) -> Mode:
    """The mode of a request by its Content-Type, and by whether `ce-` headers came (`attributes`).

    Raises `Refused` ``unsupported_media_type``.
    """
    media, charset = _media(content_type)
    if media.startswith(_EVENTS):
        batch = media.startswith(_EVENTS + b"-batch")
        form = media.removeprefix(_EVENTS).removeprefix(b"-batch")
        if form not in (b"", b"+json") or charset not in _UTF8:
            raise Refused("unsupported_media_type", "Send CloudEvents in their JSON format, in UTF-8.")
        return Mode.BATCH if batch else Mode.STRUCTURED
    if media.startswith(_FORMS):
        raise Refused("unsupported_media_type")
    if attributes:
        return Mode.BINARY
    if media == b"application/json" and charset in _UTF8:
        return Mode.JSON
    raise Refused(
        "unsupported_media_type",
        "Send application/cloudevents+json, application/cloudevents-batch+json, or the attributes as ce- headers.",
    )


def _media(content_type: bytes | None) -> tuple[bytes, bytes]:
    """The media type and its charset, in lower case; empty where there is none."""
    media, _, parameters = (content_type or b"").partition(b";")
    charset = b""
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"charset":
            charset = value.strip().strip(b'"').lower()
    return media.strip().lower(), charset


def check_repeated(pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a `ce-` header that came twice: nobody could say which one counts. Raises `Refused`."""
    seen: set[bytes] = set()
    for name, _ in pairs:
        if name.startswith(_PREFIX):
            if name in seen:
                pointer = _pointer("headers", name.decode("latin-1"))
                raise Refused("duplicate_header", "Send each attribute of a CloudEvent only once.", pointer)
            seen.add(name)


def ce_headers(headers: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """The `ce-` headers as they came, by attribute name."""
    return {
        name.removeprefix(_PREFIX).decode("latin-1"): value
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }


def decoded_header(value: bytes) -> str | None:
    """The text of an attribute in a header: quotes undone, then one round of percent-decoding. None: it has no form."""
    if _PLAIN.fullmatch(value) is None:
        return None
    if value.startswith(b'"'):
        if len(value) < 2 or not value.endswith(b'"') or _open(value[1:-1]):
            return None
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    if any(found[1] is None for found in _PERCENT.finditer(value)):
        return None
    try:
        text = _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), value).decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


def _open(quoted: bytes) -> bool:
    """Whether what stands between quotes ends the text before its end, or leaves it open."""
    return b'"' in _ESCAPED.sub(b"", quoted) or b"\\" in _ESCAPED.sub(b"", quoted)


def from_binary(
    given: Mapping[str, bytes], content_type: bytes | None, body: bytes, max_event: int = MAX_EVENT
) -> bytes:
    """The JSON object of an event whose attributes came as headers.

    Raises `Refused`: ``body_too_large`` above `max_event` bytes, ``ce_invalid_attribute``, and as `parsed_json` does.
    """
    if len(body) > max_event:
        raise Refused("body_too_large", f"In the binary mode the body is one event: {max_event:,} bytes at most.")
    attributes: dict[str, str] = {}
    for name, value in given.items():
        text = decoded_header(value)
        if text is None or name in _NOT_IN_HEADERS:
            raise Refused("ce_invalid_attribute", pointer=_pointer("headers", f"ce-{name}"))
        attributes[name] = text
    if content_type is not None:
        if _PLAIN.fullmatch(content_type) is None:
            raise Refused("ce_invalid_attribute", pointer="/headers/content-type")
        attributes["datacontenttype"] = content_type.decode()
    data = _binary_data(content_type, body)
    head = msgspec.json.encode(attributes)
    if data is None:
        return head
    return b"".join((head[:-1], b"," if attributes else b"", data, b"}"))


def _binary_data(content_type: bytes | None, body: bytes) -> bytes | None:
    """The member of the JSON object that holds the body, or None if there is no body."""
    if not body:
        return None
    media, charset = _media(content_type)
    readable = charset in _UTF8
    if readable and (content_type is None or _is_json(media)):
        text = body.removeprefix(_BYTE_ORDER_MARK).strip(_SPACE)
        parsed_json(text)
        return b'"data":' + text
    if readable and (media.startswith(b"text/") or media.endswith((b"/xml", b"+xml"))):
        try:
            return b'"data":' + msgspec.json.encode(body.decode())
        except UnicodeDecodeError:
            pass
    return b'"data_base64":"' + b64encode(body) + b'"'


def _is_json(media: bytes) -> bool:
    return media.endswith((b"/json", b"+json"))


def parsed_json(text: bytes) -> Any:
    """The value of a JSON text. Raises `Refused`: ``empty_body``, ``invalid_json``, ``json_depth``."""
    if not text:
        raise Refused("empty_body")
    try:
        return _strict.decode(text)
    except RecursionError as error:
        raise Refused("json_depth") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Refused("invalid_json") from error


def read_event(raw: bytes, repeated: Mapping[str, bytes] | None = None) -> CloudEvent:
    """The event in a JSON object; `repeated` are `ce-` headers that came beside it: the body counts.

    Raises `Unacceptable`: ``not_an_object``, ``ce_version``, ``ce_missing_attribute``, ``ce_invalid_attribute``,
    ``ce_conflict``; `Refused` where it is no JSON.
    """
    value = parsed_json(raw)
    if not isinstance(value, dict):
        raise Unacceptable("not_an_object")
    attributes = {name: given for name, given in value.items() if given is not None}
    data, encoded = attributes.pop("data", None), attributes.pop("data_base64", None)
    _check(attributes)
    _compare(attributes, repeated or {})
    if data is not None and encoded is not None:
        raise Unacceptable("ce_conflict", "An event has data or data_base64, never both.", "/data_base64")
    if encoded is not None:
        _check_base64(encoded)
        return CloudEvent(raw, attributes, None, b'{"data_base64":%b}' % msgspec.json.encode(encoded))
    if data is None:
        return CloudEvent(raw, attributes, None, None)
    data_json = bytes(_members.decode(raw)["data"])
    media, _ = _media(str(attributes.get("datacontenttype", "application/json")).encode())
    if _is_json(media):
        return CloudEvent(raw, attributes, data, data_json)
    return CloudEvent(raw, attributes, None, b'{"data":%b}' % data_json)


def _check(attributes: dict[str, Any]) -> None:
    """What the specification asks of the attributes; the version first: others have other rules."""
    version = attributes.get("specversion")
    if version not in (None, "", "1.0"):
        raise Unacceptable("ce_version", pointer="/specversion")
    for name in _REQUIRED:
        if attributes.get(name) in (None, ""):
            raise Unacceptable("ce_missing_attribute", f"A CloudEvent needs {name}, not empty.", f"/{name}")
    if str(attributes["source"]).startswith(_OURS):
        raise Unacceptable("ce_invalid_attribute", f"Sources that begin with {_OURS} are our own.", "/source")
    for name, given in attributes.items():
        if not _is_attribute(name, given):
            raise Unacceptable("ce_invalid_attribute", pointer=_pointer(name))


def _is_attribute(name: str, given: Any) -> bool:
    if _NAME.fullmatch(name) is None:
        return False
    if isinstance(given, str):
        if given == "" and name in _TEXTS:
            return False
        return _CONTROL.search(given) is None and (name != "source" or len(given) <= _MAX_SOURCE)
    if name in _TEXTS:
        return False
    return isinstance(given, bool) or (isinstance(given, int) and given in _INTEGERS)


def _compare(attributes: Attributes, repeated: Mapping[str, bytes]) -> None:
    """Refuse headers that say something else than the body."""
    for name, value in repeated.items():
        if name in attributes and decoded_header(value) != _text(attributes[name]):
            raise Unacceptable("ce_conflict", pointer=_pointer("headers", f"ce-{name}"))


def _text(value: str | int | bool) -> str:
    """An attribute as a header would say it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_base64(encoded: Any) -> None:
    try:
        b64decode(encoded if isinstance(encoded, str) else b"?", validate=True)
    except ValueError as error:
        raise Unacceptable("ce_invalid_attribute", "data_base64 must be Base64.", "/data_base64") from error


def _pointer(*parts: str) -> str:
    """A JSON pointer; long names are cut, and their odd characters escaped."""
    shown = (ascii(part[:64])[1:-1].replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in shown)
