"""The verdict on one event: whose it is, what it is called, and why it cannot be accepted."""

from typing import Any

import pytest

from ingest.domain.judging import content_id
from tests.unit.ingest.requests import REQUEST, accepted, verdict

TRACK = {"type": "track", "event": "Signed In", "userId": "ada"}


def test_the_user_wins_over_the_anonymous_visitor() -> None:
    assert accepted({**TRACK, "anonymousId": "7f"}).subject == "user:ada"
    assert accepted({**TRACK, "userId": None, "anonymousId": "7f"}).subject == "anon:7f"
    assert accepted({**TRACK, "userId": "", "anonymousId": "7f"}).subject == "anon:7f"


def test_whole_numbers_are_ids() -> None:
    assert accepted({**TRACK, "userId": 42}).subject == "user:42"
    assert accepted({**TRACK, "userId": 0}).subject == "user:0"
    assert accepted(b'{"type":"track","event":"x","userId":123456789012345678901234567890}').subject.endswith("7890")


@pytest.mark.parametrize(
    "user_id",
    ["../../x", "a:b|c", "%00", "' OR 1=1--", "${jndi:ldap}", "{{7*7}}", "user:ada", "é", "日本", "a b", "x" * 512],
)
def test_ids_are_opaque(user_id: str) -> None:
    assert accepted({**TRACK, "userId": user_id}).subject == f"user:{user_id}"


@pytest.mark.parametrize(
    "value", [{}, [], True, False, 1.5, 1.0, " ", "\t", "x" * 513, "é" * 257, "a\nb", "a\x7f", "a\x85b"]
)
@pytest.mark.parametrize("field", ["userId", "anonymousId", "previousId", "groupId", "context.groupId"])
def test_an_id_that_is_none_is_refused_by_name(field: str, value: Any) -> None:
    event: dict[str, Any] = {"userId": "ada", "type": "group", "groupId": "acme"}
    if field == "previousId":
        event["type"] = "alias"
    if field == "context.groupId":
        event = {**TRACK, "context": {"groupId": value}}
    else:
        event[field] = value
    assert verdict(event) == "invalid_id"


@pytest.mark.parametrize("event", [{}, {"userId": None}, {"userId": "", "anonymousId": ""}])
def test_somebody_must_have_done_it(event: dict[str, Any]) -> None:
    assert verdict({"type": "track", "event": "Signed In", **event}) == "no_identity"


@pytest.mark.parametrize(
    ("call", "name"),
    [("identify", "$identify"), ("page", "Page Viewed"), ("screen", "Screen Viewed"), ("track", "Signed In")],
)
def test_every_call_has_its_event(call: str, name: str) -> None:
    assert accepted({**TRACK, "type": call}).name == name
    assert accepted({"event": "Signed In", "userId": "ada"}, REQUEST._replace(call=call)).name == name


def test_the_type_in_the_message_goes_before_the_path() -> None:
    assert accepted({**TRACK, "type": "identify"}, REQUEST._replace(call="track")).name == "$identify"


@pytest.mark.parametrize("kind", [None, "", "Track", "event", 1, {}, ["track"], True])
def test_an_unknown_type_is_refused(kind: Any) -> None:
    assert verdict({**TRACK, "type": kind}) == "unknown_type"


@pytest.mark.parametrize("name", [None, "", " ", 7, {}, "a\nb", "x" * 256])
def test_a_track_call_needs_a_name(name: Any) -> None:
    assert verdict({**TRACK, "event": name}) == "invalid_event_name"


@pytest.mark.parametrize("name", ["$identify", "$group", "$alias", "$stage:default"])
def test_nobody_can_forge_the_events_of_parcours_itself(name: str) -> None:
    assert verdict({**TRACK, "event": name}) == "reserved_event_name"
    assert accepted({**TRACK, "event": "$pageview"}).name == "$pageview"


@pytest.mark.parametrize("name", ["Commande passée", "👩‍💻 Deployed", "x" * 255, "__proto__", "a.b", "$set"])
def test_any_other_name_is_taken_as_it_is(name: str) -> None:
    assert accepted({**TRACK, "event": name}).name == name


def test_a_group_names_an_account() -> None:
    group = {"type": "group", "userId": "ada", "groupId": 7}
    assert accepted(group).account == "account:7"
    assert verdict({**group, "groupId": None}) == "no_group_id"
    assert verdict({**group, "groupId": ""}) == "no_group_id"


def test_the_account_is_the_messages_own_before_the_envelopes() -> None:
    request = REQUEST._replace(context={"groupId": "envelope"})
    assert accepted(TRACK).account is None
    assert accepted(TRACK, request).account == "account:envelope"
    assert accepted({**TRACK, "context": {"groupId": "own"}}, request).account == "account:own"
    group = {**TRACK, "type": "group", "groupId": "called", "context": {"groupId": "own"}}
    assert accepted(group, request).account == "account:called"


def test_an_alias_names_two_ids() -> None:
    alias = {"type": "alias", "userId": "ada"}
    assert accepted({**alias, "previousId": "7f"}).name == "$alias"
    assert verdict(alias) == "no_previous_id"
    assert verdict({**alias, "previousId": "ada"}) == "alias_cycle"
    assert verdict({**alias, "userId": 7, "previousId": "7"}) == "alias_cycle"


@pytest.mark.parametrize("value", [{}, [], True, 1.5, " ", "x" * 256, "a\nb"])
def test_a_strange_message_id_is_refused(value: Any) -> None:
    assert verdict({**TRACK, "messageId": value}) == "invalid_message_id"


def test_a_message_id_is_kept_as_it_is() -> None:
    assert accepted({**TRACK, "messageId": "node-next-1-ü"}).message_id == "node-next-1-ü"
    assert accepted({**TRACK, "messageId": 17}).message_id == "17"


def test_a_timed_event_without_an_id_gets_the_same_one_whenever_it_comes() -> None:
    timed = {"timestamp": "2026-11-03T10:00:00Z"}
    later = REQUEST._replace(received_at=REQUEST.received_at + 86_400_000)
    assert content_id(timed, b"{}", REQUEST, 0) == content_id(timed, b"{}", later, 0)
    others = {
        content_id(timed, b"{}", REQUEST, 0),
        content_id(timed, b"{}", REQUEST, 1),
        content_id(timed, b"{ }", REQUEST, 0),
        content_id(timed, b"{}", REQUEST._replace(call="page"), 0),
        content_id(timed, b"{}", REQUEST._replace(source=REQUEST.source._replace(workspace="other")), 0),
    }
    assert len(others) == 5


def test_an_event_without_id_and_time_is_another_one_a_minute_later_but_not_on_a_retry() -> None:
    minute = REQUEST._replace(received_at=REQUEST.received_at // 60_000 * 60_000, sent_at=None)
    retry, tomorrow = (minute._replace(received_at=minute.received_at + wait) for wait in (59_999, 86_400_000))
    assert content_id({}, b"{}", minute, 0) == content_id({}, b"{}", retry, 0)
    assert content_id({}, b"{}", minute, 0) != content_id({}, b"{}", tomorrow, 0)


@pytest.mark.parametrize("value", [[], "x", 1, True, 1.5])
@pytest.mark.parametrize("field", ["properties", "traits", "context"])
def test_what_must_be_an_object_is_one(field: str, value: Any) -> None:
    assert verdict({**TRACK, field: value}) == "invalid_properties"
    assert accepted({**TRACK, field: None}).subject == "user:ada"
    assert accepted({**TRACK, field: {}}).subject == "user:ada"


def test_traits_in_the_context_are_an_object_too() -> None:
    assert verdict({**TRACK, "context": {"traits": []}}) == "invalid_properties"
    assert verdict({**TRACK, "context": {"traits": {str(n): n for n in range(1_001)}}}) == "too_many_properties"


@pytest.mark.parametrize("field", ["properties", "traits"])
def test_properties_are_counted(field: str) -> None:
    assert accepted({**TRACK, field: {str(n): n for n in range(1_000)}}).subject == "user:ada"
    assert verdict({**TRACK, field: {str(n): n for n in range(1_001)}}) == "too_many_properties"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_an_event_may_be_sixteen_levels_deep() -> None:
    assert accepted({**TRACK, "properties": {"a": nested(14)}}).subject == "user:ada"
    assert verdict({**TRACK, "properties": {"a": nested(15)}}) == "too_deep"
    assert verdict({**TRACK, "a": nested(400)}) == "too_deep"


def test_breadth_and_brackets_in_texts_are_not_depth() -> None:
    assert accepted({**TRACK, "properties": {"a": [{"b": []}] * 500, "c": "[{" * 500}}).subject == "user:ada"


@pytest.mark.parametrize("event", [{"properties": {"a": "x\x00y"}}, {"properties": {"x\x00": 1}}, {"userId": "a\x00"}])
def test_a_nul_character_is_refused_wherever_it_stands(event: dict[str, Any]) -> None:
    assert verdict({**TRACK, **event}) == "nul_in_string"


def test_the_escape_of_a_nul_may_be_written_about() -> None:
    assert accepted(b'{"type":"track","event":"x","userId":"a","properties":{"p":"\\\\u0000"}}').subject == "user:a"


def test_an_event_may_be_256_kib_long() -> None:
    empty = b'{"type":"track","event":"x","userId":"a","p":"%s","q":"%s"}'
    room = 256 * 1024 - len(empty) + 4
    half = room // 2
    assert accepted(empty % (b"x" * half, b"x" * (room - half))).subject == "user:a"
    assert verdict(empty % (b"x" * half, b"x" * (room - half + 1))) == "event_too_large"
    assert verdict(empty % (b"x" * 300_000, b"")) == "property_too_long"


@pytest.mark.parametrize("event", [None, [], "x", 1, True])
def test_an_event_is_an_object(event: Any) -> None:
    assert verdict(event) == "not_an_object"


@pytest.mark.parametrize(
    "field", ["__proto__", "constructor", "__class__", "a.b", "", "writeKey", "batch", "integrations"]
)
def test_unknown_fields_are_plain_data(field: str) -> None:
    assert accepted({**TRACK, field: {"x": [1]}}).subject == "user:ada"
