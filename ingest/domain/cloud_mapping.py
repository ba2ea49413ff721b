"""What a CloudEvent means to Parcours: the event that the judge looks at, and the bytes that its record carries."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ingest.domain.cloudevents import CloudEvent
from ingest.domain.judging import CALLS
from ingest.errors import Unacceptable
from schemas.ids import InvalidId, account_subject

__all__ = ["Mapped", "mapped", "pointer_of"]

CALL_PREFIX: Final = "parcours."
_ACCOUNT: Final = "account:"
_ANONYMOUS: Final = "anon:"
_USER: Final = "user:"
# What the record says in other places; everything else of the event stays in the value.
_ELSEWHERE: Final = frozenset(("id", "source", "type", "specversion", "subject", "time", "groupid"))
_JSON: Final = ("application/json", "application/json; charset=utf-8")

_IN_EVENT: Final[Mapping[str, str]] = {
    "no_identity": "/subject",
    "invalid_id": "/subject",
    "invalid_event_name": "/type",
    "reserved_event_name": "/type",
    "unknown_event": "/type",
    "invalid_timestamp": "/time",
    "invalid_message_id": "/id",
}
_IN_CALL: Final[Mapping[str, str]] = {
    "no_identity": "/data/userId",
    "no_group_id": "/data/groupId",
    "no_previous_id": "/data/previousId",
    "alias_cycle": "/data/previousId",
    "invalid_event_name": "/data/event",
    "reserved_event_name": "/data/event",
    "unknown_event": "/data/event",
    "invalid_message_id": "/id",
}


class Mapped(NamedTuple):
    """An event in the words of the judge (`fields`), and the value of its record.

    `account` is the subject where the event is an account's own. `context` is what the value does not hold: the
    extensions around a call's body, which stays the sender's own.
    """

    fields: dict[str, Any]
    value: bytes
    account: str | None
    context: dict[str, Any] | None


def mapped(event: CloudEvent) -> Mapped:
    """The event in the words of the judge.

    A type ``parcours.track`` and so on means that the data is the body of that call; any other type is the name of an
    event, and the data its properties. Raises `Unacceptable`: ``not_an_object``, ``ce_conflict``, ``invalid_id``.
    """
    name = str(event.attributes["type"])
    call = name.removeprefix(CALL_PREFIX)
    if name.startswith(CALL_PREFIX) and call in CALLS:
        return _call(event, call)
    return _track(event, name)


def pointer_of(event: CloudEvent, reason: Unacceptable) -> str | None:
    """Where in the CloudEvent the judge's reason not to accept `mapped` stands, as a JSON pointer."""
    name = str(event.attributes["type"])
    whole = name.startswith(CALL_PREFIX) and name.removeprefix(CALL_PREFIX) in CALLS
    if reason.pointer is not None:
        return "/data" + (reason.pointer if whole else reason.pointer.removeprefix("/properties"))
    if whole:
        return _IN_CALL.get(reason.code)
    if reason.code == "invalid_id" and reason.detail.startswith("groupId"):
        return "/groupid"
    return _IN_EVENT.get(reason.code)


def _track(event: CloudEvent, name: str) -> Mapped:
    attributes = event.attributes
    properties = event.data if isinstance(event.data, dict) else None
    content = event.data_json
    if content is not None and properties is None and event.data is not None:
        content = b'{"data":%b}' % content
    fields: dict[str, Any] = {
        "type": "track",
        "event": name,
        "messageId": attributes["id"],
        "timestamp": attributes.get("time"),
        "properties": properties,
    }
    context = _context(attributes)
    members = [b'"properties":' + content] if content is not None else []
    if context is not None:
        fields["context"] = context
        members.append(b'"context":' + msgspec.json.encode(context))
    account = _identify(fields, attributes)
    return Mapped(fields, b"{%b}" % b",".join(members), account, None)


def _call(event: CloudEvent, call: str) -> Mapped:
    """The body of a call: its own ids and time count, and those of the event where it has none."""
    attributes = event.attributes
    if not isinstance(event.data, dict) or event.data_json is None:
        raise Unacceptable("not_an_object", "The data of this type must be a JSON object.", "/data")
    fields: dict[str, Any] = dict(event.data)
    if fields.get("type") not in (None, call):
        raise Unacceptable("ce_conflict", "The data is of another type than the event.", "/data/type")
    fields["type"] = call
    fields["messageId"] = attributes["id"]
    if fields.get("timestamp") is None and fields.get("originalTimestamp") is None:
        fields["timestamp"] = attributes.get("time")
    account = None
    user, anonymous = fields.get("userId"), fields.get("anonymousId")
    if user in (None, "") and anonymous in (None, ""):
        account = _identify(fields, attributes)
    elif "subject" in attributes and attributes["subject"] not in _subjects(user, anonymous):
        raise Unacceptable("ce_conflict", "The data names someone else than the event.", "/subject")
    context, own = _context(attributes), fields.get("context")
    if context is not None and (own is None or isinstance(own, dict)):
        fields["context"] = {**context, **(own or {})}
    return Mapped(fields, event.data_json, account, context)


def _subjects(user: Any, anonymous: Any) -> tuple[str, ...]:
    """How a subject attribute may name the customer whom the data names."""
    if user not in (None, ""):
        return str(user), f"{_USER}{user}"
    return (f"{_ANONYMOUS}{anonymous}",)


def _identify(fields: dict[str, Any], attributes: Mapping[str, str | int | bool]) -> str | None:
    """Say whose the event is by its subject attribute. Returns the account's subject where it is an account's own."""
    subject = attributes.get("subject")
    if not isinstance(subject, str):
        return None
    if subject.startswith(_ANONYMOUS):
        fields["anonymousId"] = subject.removeprefix(_ANONYMOUS)
    elif subject.startswith(_ACCOUNT):
        # The judge knows customers; that the account's id is one, too, is looked at here.
        fields["userId"] = subject.removeprefix(_ACCOUNT)
        try:
            return account_subject(fields["userId"])
        except InvalidId as error:
            raise Unacceptable("invalid_id", str(error), "/subject") from error
    else:
        fields["userId"] = subject.removeprefix(_USER)
    return None


def _context(attributes: Mapping[str, str | int | bool]) -> dict[str, Any] | None:
    """The account that the event also belongs to, and the attributes that no other place of the record holds."""
    others = {
        name: value
        for name, value in attributes.items()
        if name not in _ELSEWHERE and not (name == "datacontenttype" and value in _JSON)
    }
    context: dict[str, Any] = {}
    if "groupid" in attributes:
        context["groupId"] = attributes["groupid"]
    if others:
        context["cloudevents"] = others
    return context or None
