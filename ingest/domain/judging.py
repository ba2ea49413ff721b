"""The verdict on one event: accepted, with everything that its record's headers say, or unacceptable with a code."""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from ingest.domain.limits import MAX_DEPTH, MAX_EVENT, MAX_NAME, MAX_PROPERTIES
from ingest.domain.parsing import is_deeper, nul_in
from ingest.domain.timing import Occurred, occurred, sent_at_of
from ingest.errors import Unacceptable
from ingest.ports import Source
from schemas.ids import InvalidId, account_subject, anonymous_subject, user_subject
from schemas.records import Headers
from schemas.times import MINUTE

__all__ = ["CALLS", "Accepted", "Request", "content_id", "judge", "oversize"]

_TIMES: Final = ("timestamp", "originalTimestamp", "sentAt")

CALLS: Final[Mapping[str, str | None]] = {
    "track": None,
    "identify": "$identify",
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "group": "$group",
    "alias": "$alias",
}
"""The calls, and the event's name that each stands for (a track brings its own)."""

PLAIN_LENGTH: Final = 128
"""A printable id of at most so many characters is surely not too long in bytes."""

_RESERVED: Final = ("$identify", "$group", "$alias")
_RESERVED_PREFIX: Final = "$stage:"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SUBJECTS: Final = {"userId": user_subject, "anonymousId": anonymous_subject, "groupId": account_subject}


class Request(NamedTuple):
    """What the judge knows of the request beside the event: times in ms; `sent_at` is the envelope's or the header's.

    `call` is the type that the path gives (None on batch paths); `partitions` is how many the log has; `trust_sent_at`
    is false for retries, whose `sentAt` says nothing of the sender's clock; `context` is the envelope's. `retry`: the
    sender says that it is one. `headers` go along with each record, `flags` with each that is accepted; an event may
    have `max_event` bytes.
    """

    source: Source
    partitions: int
    call: str | None
    received_at: int
    sent_at: int | None
    trust_sent_at: bool
    context: Any
    suspicious: bool
    retry: bool = False
    headers: Headers = ()
    flags: tuple[str, ...] = ()
    max_event: int = MAX_EVENT


class Accepted(msgspec.Struct, gc=False):
    """An event that may go on the log: subjects, id, name, and its time (ms) with the text that the header carries.

    `message_id` is empty when the sender gave none; `content_id` makes one.
    """

    subject: str
    account: str | None
    message_id: str
    name: str
    occurred_at: int
    time: bytes
    skewed: bool


def judge(event: Any, raw: bytes, request: Request) -> Accepted:
    """The verdict on one parsed event whose bytes are `raw`. Raises `Unacceptable` with a code of the problem table.

    This is the door's hottest path: what nearly all events look like is decided here, the rest by the functions below.
    """
    if not isinstance(event, dict):
        raise Unacceptable("not_an_object")
    get = event.get
    # Fewer brackets than levels allowed is the cheap proof that an event is not nested too deep.
    if request.suspicious or len(raw) > request.max_event or raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_bounds(raw, request.max_event)
    call = get("type")
    if call is None:
        call = request.call
    name = _event_name(get("event")) if call == "track" else _call_name(call)
    user = get("userId")
    if isinstance(user, str) and 0 < len(user) <= PLAIN_LENGTH and user.isprintable() and not user.isspace():
        subject = "user:" + user
        if get("anonymousId") is not None:
            _id_of("anonymousId", event["anonymousId"])
    else:
        subject = _subject(event)
    context = get("context")
    if context is not None or request.context is not None or call == "group":
        account = _account(call, event, context, request.context)
    else:
        account = None
    if call == "alias":
        _check_alias(event)
    instant, text, skewed = _occurred(event, request)
    _check_objects(event, context)
    message_id = get("messageId")
    if not isinstance(message_id, str) or not message_id.isprintable() or not 0 < len(message_id.strip()) <= MAX_NAME:
        message_id = _message_id(message_id)
    return Accepted(subject, account, message_id, name, instant, text, skewed)


def oversize(raw: bytes, limit: int) -> Unacceptable:
    """Why an event of more than `limit` bytes is kept apart: for one text that alone is too long, or as a whole.

    It is not made into objects for this. A text that long has a quotation mark before and after some multiple of the
    limit, and none between them that is not escaped.
    """
    for place in range(limit, len(raw), limit):
        before, after = raw.rfind(b'"', 0, place), raw.find(b'"', place)
        inside = (raw.count(b'"', 0, before + 1) - raw.count(b'\\"', 0, before + 1)) % 2
        if after - before - 1 > limit and inside:
            return Unacceptable("property_too_long")
    return Unacceptable("event_too_large", f"An event may have {limit:,} bytes, and this one has {len(raw):,}.")


def _check_bounds(raw: bytes, limit: int) -> None:
    """Size, depth and U+0000, looked at in full."""
    if len(raw) > limit:
        raise oversize(raw, limit)
    if is_deeper(raw, MAX_DEPTH):
        raise Unacceptable("too_deep")
    if nul_in(raw):
        raise Unacceptable("nul_in_string")


def _occurred(event: dict[str, Any], request: Request) -> Occurred:
    stated = event.get("timestamp")
    if stated is None:
        stated = event.get("originalTimestamp")
    sent_at = request.sent_at
    if "sentAt" in event and (own := sent_at_of(event["sentAt"])) is not None:
        sent_at = own
    return occurred(stated, sent_at if request.trust_sent_at else None, request.received_at)


def _call_name(call: Any) -> str:
    name = CALLS.get(call) if isinstance(call, str) else None
    if name is None:
        raise Unacceptable("unknown_type")
    return name


def _event_name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise Unacceptable("invalid_event_name")
    return _checked_name(name)


@lru_cache(maxsize=4_096)
def _checked_name(name: str) -> str:
    if not _is_plain(name):
        raise Unacceptable("invalid_event_name")
    if name in _RESERVED or name.startswith(_RESERVED_PREFIX):
        raise Unacceptable("reserved_event_name")
    return name


def _is_plain(text: str) -> bool:
    return not (text == "" or text.isspace()) and (text.isprintable() or _CONTROL.search(text) is None)


def _subject(event: dict[str, Any]) -> str:
    """The user if there is a user id, else the anonymous visitor; whatever is given must be valid."""
    user = _id_of("userId", event.get("userId"))
    anonymous = _id_of("anonymousId", event.get("anonymousId"))
    subject = user or anonymous
    if subject is None:
        raise Unacceptable("no_identity")
    return subject


def _id_of(field: str, value: Any) -> str | None:
    """The subject that an id names; None when it is absent (missing, null or an empty text)."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _name(field, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _name(field, str(value))
    raise Unacceptable("invalid_id", f"{field} must be text or a whole number.")


def _name(field: str, identifier: str) -> str:
    try:
        return _SUBJECTS[field](identifier)
    except InvalidId as error:
        raise Unacceptable("invalid_id", f"{field}: {error}") from error


def _account(call: Any, event: dict[str, Any], context: Any, envelope_context: Any) -> str | None:
    """The account that the event also belongs to: a group call's groupId, else the context's, else the envelope's."""
    group = event.get("groupId") if call == "group" else None
    if call == "group" and (group is None or group == ""):
        raise Unacceptable("no_group_id")
    if group is None and isinstance(context, dict):
        group = context.get("groupId")
    if group is None and isinstance(envelope_context, dict):
        group = envelope_context.get("groupId")
    return None if group is None else _id_of("groupId", group)


def _check_alias(event: dict[str, Any]) -> None:
    previous = event.get("previousId")
    if previous is None or previous == "":
        raise Unacceptable("no_previous_id")
    if isinstance(previous, bool) or not isinstance(previous, (str, int)):
        raise Unacceptable("invalid_id", "previousId must be text or a whole number.")
    try:
        user_subject(str(previous))
    except InvalidId as error:
        raise Unacceptable("invalid_id", f"previousId: {error}") from error
    if event.get("userId") is not None and str(event["userId"]) == str(previous):
        raise Unacceptable("alias_cycle")


def _check_objects(event: dict[str, Any], context: Any) -> None:
    properties, traits = event.get("properties"), event.get("traits")
    if properties is not None:
        _check_object("properties", properties)
    if traits is not None:
        _check_object("traits", traits)
    if context is not None:
        _check_object("context", context)
        traits = context.get("traits")
        if traits is not None:
            _check_object("context.traits", traits)


def _check_object(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise Unacceptable("invalid_properties", f"{name} must be a JSON object.")
    if len(value) > MAX_PROPERTIES:
        raise Unacceptable("too_many_properties")


def _message_id(value: Any) -> str:
    if isinstance(value, str) and value:
        if len(value) > MAX_NAME or not _is_plain(value):
            raise Unacceptable("invalid_message_id")
        return value
    if value is None or value == "":
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Unacceptable("invalid_message_id")


def content_id(event: Mapping[str, Any], raw: bytes, request: Request, repeat: int) -> str:
    """The id of an event whose sender gave none: the same for a retry of the same bytes, whenever that arrives.

    The envelope's `sentAt` is part of it. The time of arrival is part of it, to the minute, only where the sender
    states no time at all: such an event happens when it arrives, and the same again tomorrow is another one. `repeat`
    counts earlier events of the same request with the same bytes.
    """
    content = blake2b(digest_size=16, person=b"parcours-event")
    timeless = request.sent_at is None and all(event.get(name) is None for name in _TIMES)
    minute = request.received_at // MINUTE if timeless else None
    for part in (request.source.workspace, request.call, request.sent_at, minute, repeat):
        content.update(f"{part}\x1f".encode())
    content.update(raw)
    return f"auto-{content.hexdigest()}"
