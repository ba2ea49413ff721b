"""The calls that every real tracking SDK is given, and the proof that their events stand on the topic unchanged."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from schemas.records import StoredRecord, header, read_envelope
from schemas.times import parse_instant

__all__ = ["CALLS", "MOMENT", "NAMES", "VALUES", "arrived", "assert_all_arrived", "assert_unchanged", "burst"]

MOMENT: Final = "2024-02-29T09:30:00.123Z"

VALUES: Final[dict[str, Any]] = {
    "revenue": 42.5,
    "zero": 0,
    "negative": -7,
    "large": 9_007_199_254_740_991,
    "tiny": 1e-9,
    "digits": "0042",
    "yes": True,
    "no": False,
    "nothing": None,
    "empty": "",
    "list": [1, "two", None, {"three": 3.25}, []],
    "empty_list": [],
    "nested": {"a": {"b": {"c": 'é 日本 😀 " \\ / \n\t'}}},
    "markup": "<b>&amp;</b>",
    "a key with spaces": "and.dots",
}
"""What a JSON value can be, and what a careless hand on the way would change."""

CALLS: Final[Sequence[Mapping[str, Any]]] = (
    {"type": "identify", "messageId": "m1", "userId": "ada", "traits": {"email": "ada@example.com", **VALUES}},
    {"type": "track", "messageId": "m2", "userId": "ada", "event": "Order Completed", "properties": VALUES},
    {"type": "track", "messageId": "m3", "anonymousId": "7f", "event": "Signed In", "properties": {}},
    {"type": "page", "messageId": "m4", "userId": "ada", "category": "docs", "name": "Start", "properties": {"n": 1}},
    {"type": "screen", "messageId": "m5", "userId": "ada", "name": "Home", "properties": {"n": 2.5}},
    {"type": "group", "messageId": "m6", "userId": "ada", "groupId": "acme", "traits": {"seats": 3, "plan": None}},
    {"type": "alias", "messageId": "m7", "userId": "ada", "previousId": "7f"},
    {
        "type": "track",
        "messageId": "m8",
        "userId": "bob",
        "event": "Invited",
        "properties": {"to": ["eve"]},
        "context": {"groupId": "acme", "ip": "192.0.2.7", "campaign": {"name": "Herbst"}},
        "integrations": {"All": False, "Mail": {"list": 4}},
    },
)
"""One call of each kind and more, as the messages of Segment's specification."""

NAMES: Final = {
    "m1": ("user:ada", "$identify"),
    "m2": ("user:ada", "Order Completed"),
    "m3": ("anon:7f", "Signed In"),
    "m4": ("user:ada", "Page Viewed"),
    "m5": ("user:ada", "Screen Viewed"),
    "m6": ("user:ada", "$group"),
    "m7": ("user:ada", "$alias"),
    "m8": ("user:bob", "Invited"),
}
"""Whose event each call is, and what it is called."""

_EXACTLY: Final = ("userId", "event", "groupId", "previousId", "name")


def burst(count: int) -> list[Mapping[str, Any]]:
    """So many calls of seven customers, numbered."""
    return [
        {
            "type": "track",
            "messageId": f"n{number}",
            "userId": f"customer-{number % 7}",
            "event": "Feature Used",
            "properties": {"n": number},
        }
        for number in range(count)
    ]


def arrived(records: Iterable[StoredRecord], *, repeated: bool = False) -> dict[str, StoredRecord]:
    """The records by message id; each stands there once.

    With `repeated` (an answer was lost) copies are allowed, but every copy must be the first one again: only `sentAt`
    and `_metadata` may differ, which some SDKs write into the event when they send it.
    """
    found: dict[str, StoredRecord] = {}
    for record in records:
        message_id = read_envelope(record).message_id
        if message_id in found:
            assert repeated, f"{message_id} stands on the topic twice"
            assert record.key == found[message_id].key
            assert _said(record) == _said(found[message_id])
        else:
            found[message_id] = record
    return found


def assert_all_arrived(
    calls: Iterable[Mapping[str, Any]], events: Iterable[StoredRecord], routed: Iterable[StoredRecord]
) -> None:
    """Each of `CALLS`, as it was sent, stands on the topic once and unchanged, and so do the account's copies."""
    found = arrived(events)
    envelopes = {message_id: read_envelope(record) for message_id, record in found.items()}
    assert {message_id: (envelope.subject, envelope.name) for message_id, envelope in envelopes.items()} == NAMES
    for call in calls:
        assert_unchanged(call, found[call["messageId"]])
        assert header(found[call["messageId"]].headers, "ce_flags") is None
    assert {(read_envelope(copy).subject, message_id) for message_id, copy in arrived(routed).items()} == {
        ("account:acme", "m6"),
        ("account:acme", "m8"),
    }


def assert_unchanged(call: Mapping[str, Any], record: StoredRecord, *, adds: Collection[str] = ()) -> None:
    """The event on the topic holds what the SDK was given, value for value.

    `adds` are names of properties that the SDK itself adds; every SDK may copy a page's name and category there.
    """
    event = _value(record)
    assert header(record.headers, "ce_id") == event["messageId"] == call["messageId"]
    assert event["type"] == call["type"]
    for name in _EXACTLY:
        if name in call:
            assert _text(event[name]) == _text(call[name]), name
    if "properties" in call:
        _assert_properties(call, event["properties"], adds)
    if "anonymousId" in call:
        assert event["anonymousId"] == call["anonymousId"]
    if "category" in call:
        assert call["category"] in (event.get("category"), event["properties"].get("category"))
    if "traits" in call:
        given = _text(call["traits"])
        places = [event.get("traits"), event["context"].get("traits")]
        assert given in [_text(place) for place in places if place]
        # A group's context tells the customer's own traits.
        assert call["type"] == "group" or all(_text(place) == given for place in places if place)
    for part in ("context", "integrations"):
        for name, value in call.get(part, {}).items():
            assert _text(event[part][name]) == _text(value), name
    if "timestamp" in call:
        assert read_envelope(record).occurred_at == parse_instant(call["timestamp"])


def _assert_properties(call: Mapping[str, Any], found: Mapping[str, Any], adds: Collection[str]) -> None:
    given = call["properties"]
    for name in set(found) - set(given) - set(adds):
        assert call["type"] in ("page", "screen")
        assert name in ("name", "category")
        assert found[name] == call[name]
    assert _text({name: found.get(name, "(lost)") for name in given}) == _text(given)


def _value(record: StoredRecord) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(record.value or b"")
    return value


def _said(record: StoredRecord) -> dict[str, Any]:
    """The event without what an SDK writes into it when it sends it."""
    return {name: value for name, value in _value(record).items() if name not in ("sentAt", "_metadata")}


def _text(value: object) -> str:
    """Tells 1 from true and 1.5 from "1.5", as comparing in Python would not."""
    return json.dumps(value, sort_keys=True)
