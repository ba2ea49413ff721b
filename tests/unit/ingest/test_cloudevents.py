"""CloudEvents 1.0 over HTTP: modes, headers, attributes, data; and what an event means to Parcours."""

import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.domain.cloud_mapping import mapped, pointer_of
from ingest.domain.cloudevents import (
    CloudEvent,
    Mode,
    ce_headers,
    check_repeated,
    decoded_header,
    from_binary,
    mode_of,
    read_event,
)
from ingest.domain.judging import judge
from ingest.errors import Refused, Unacceptable
from tests.unit.ingest.requests import REQUEST

EVENT = {"specversion": "1.0", "id": "42", "source": "https://shop.example/orders", "type": "Order Completed"}
FULL = {**EVENT, "subject": "ada", "time": "2026-11-03T09:00:00.123456Z", "data": {"revenue": 42}}
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)


def event_of(value: Any, repeated: dict[str, bytes] | None = None) -> CloudEvent:
    return read_event(value if isinstance(value, bytes) else json.dumps(value).encode(), repeated)


def wrong(value: Any, repeated: dict[str, bytes] | None = None) -> tuple[str, str | None]:
    """Code and pointer of the reason why an event is not taken."""
    try:
        event_of(value, repeated)
    except (Unacceptable, Refused) as reason:
        return reason.code, reason.pointer
    raise AssertionError("the event was taken")


def refused(*arguments: Any) -> tuple[str, str | None]:
    """Code and pointer of the refusal of a request in binary mode."""
    with pytest.raises(Refused) as caught:
        read_event(from_binary(*arguments))
    return caught.value.code, caught.value.pointer


@pytest.mark.parametrize(
    ("content_type", "headers", "mode"),
    [
        (b"application/cloudevents+json", False, Mode.STRUCTURED),
        (b"Application/CloudEvents+JSON; charset=UTF-8", False, Mode.STRUCTURED),
        (b'application/cloudevents+json;charset="utf-8"', True, Mode.STRUCTURED),
        (b"application/cloudevents", False, Mode.STRUCTURED),
        (b"application/cloudevents-batch+json", False, Mode.BATCH),
        (b"application/cloudevents-batch+json; charset=utf-8", True, Mode.BATCH),
        (b"application/json", True, Mode.BINARY),
        (b"text/plain", True, Mode.BINARY),
        (b"application/xml", True, Mode.BINARY),
        (None, True, Mode.BINARY),
        (b"application/json", False, Mode.JSON),
        (b"application/json; charset=utf-8", False, Mode.JSON),
    ],
)
def test_the_mode_follows_from_the_content_type_and_then_from_the_headers(
    content_type: bytes | None, headers: bool, mode: Mode
) -> None:
    assert mode_of(content_type, headers) is mode


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        (b"application/cloudevents+avro", False),
        (b"application/cloudevents+xml", True),
        (b"application/cloudevents-batch+protobuf", False),
        (b"application/cloudevents-other+json", False),
        (b"application/cloudevents+json; charset=utf-16", False),
        (b"application/json; charset=latin-1", False),
        (b"application/x-www-form-urlencoded", True),
        (b"multipart/form-data; boundary=x", True),
        (b"text/plain", False),
        (b"", False),
        (None, False),
    ],
)
def test_what_no_mode_takes_is_an_unsupported_type(content_type: bytes | None, headers: bool) -> None:
    with pytest.raises(Refused) as caught:
        mode_of(content_type, headers)
    assert (caught.value.code, caught.value.status) == ("unsupported_media_type", 415)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"ada", "ada"),
        (b"Euro%20%E2%82%AC", "Euro €"),
        (b"Euro%20%e2%82%ac", "Euro €"),
        (b"%2541", "%41"),
        (b'"ada \\"the\\" \\\\ %41"', 'ada "the" \\ A'),
        (b'a "b" c', 'a "b" c'),
        (b"", ""),
        (b'""', ""),
    ],
)
def test_a_header_is_unquoted_and_then_decoded_exactly_once(value: bytes, text: str) -> None:
    assert decoded_header(value) == text


@pytest.mark.parametrize(
    "value",
    [
        b"a\r\nX-Evil: 1", b"a%0d%0aX-Evil:%201", b"a%0Ab", b"%00", b"%7f", b"%C2%85", b"caf\xe9", b"caf\xc3\xa9",
        b"%C0%A0", b"%FF", b"%ED%A0%80", b"100%", b"%4", b"%zz", b'"', b'"a', b'"a\\"', b'"a"b"', b'"a\\', b"a\tb",
    ],
)  # fmt: skip
def test_a_header_that_hides_something_or_cannot_be_decoded_is_none(value: bytes) -> None:
    assert decoded_header(value) is None
    assert refused({**_binary(EVENT), "subject": value}, None, b"") == (
        "ce_invalid_attribute",
        "/headers/ce-subject",
    )


@given(TEXT)
def test_what_a_sender_encodes_as_the_binding_says_is_what_is_read(text: str) -> None:
    assert decoded_header(quote(text, safe="").encode()) == text
    quoted = quote(text.replace("\\", "\\\\").replace('"', '\\"'), safe='"\\').encode()
    assert decoded_header(b'"%b"' % quoted) == text


def _binary(attributes: dict[str, Any]) -> dict[str, bytes]:
    return {name: quote(str(value), safe=":/").encode() for name, value in attributes.items()}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, lambda inner: st.lists(inner, max_size=3)
)
DATA = st.none() | st.dictionaries(TEXT, JSON_VALUES, max_size=4)
EXTENSIONS = st.dictionaries(st.from_regex(r"ext[a-z0-9]{1,9}", fullmatch=True), TEXT, max_size=3)


@settings(deadline=None)
@given(TEXT, TEXT, TEXT, EXTENSIONS, DATA)
def test_the_official_sdk_says_the_same_in_both_modes(
    event_id: str, name: str, subject: str, extensions: dict[str, str], data: dict[str, Any] | None
) -> None:
    attributes = {"id": event_id, "source": "/orders", "type": name, "subject": subject, **extensions}
    sent = SdkEvent({**attributes, "specversion": "1.0", "datacontenttype": "application/json"}, data)
    binary, structured = to_binary(sent, JSONFormat()), to_structured(sent, JSONFormat())
    headers = {key.lower().encode(): value.encode() for key, value in binary.headers.items()}
    found = read_event(from_binary(ce_headers(headers), headers.get(b"content-type"), binary.body))
    again = read_event(structured.body)
    assert found.attributes == again.attributes
    assert {**sent.get_attributes(), "time": found.attributes["time"]} == found.attributes
    assert (found.data or None) == (again.data or None) == (data or None)
    assert mapped(found).fields == mapped(again).fields


@pytest.mark.parametrize("missing", ["id", "source", "type", "specversion"])
@pytest.mark.parametrize("instead", [None, ""])
def test_a_required_attribute_that_is_missing_or_empty_is_named(missing: str, instead: str | None) -> None:
    assert wrong({name: value for name, value in EVENT.items() if name != missing}) == (
        "ce_missing_attribute",
        f"/{missing}",
    )
    assert wrong({**EVENT, missing: instead}) == ("ce_missing_attribute", f"/{missing}")


@pytest.mark.parametrize("version", ["0.3", "2.0", "1", "1.0 ", 1.0, 1, True, ["1.0"]])
def test_another_version_is_refused_before_its_attributes_are_looked_at(version: Any) -> None:
    assert wrong({"specversion": version}) == ("ce_version", "/specversion")


@pytest.mark.parametrize(
    ("name", "value", "pointer"),
    [
        ("id", 42, "/id"),
        ("type", ["x"], "/type"),
        ("source", "s" * 1_025, "/source"),
        ("source", "a\nb", "/source"),
        ("source", "/parcours/stage_engine", "/source"),
        ("subject", "", "/subject"),
        ("subject", {"id": 1}, "/subject"),
        ("time", 1_700_000_000, "/time"),
        ("userId", "ada", "/userId"),
        ("a.b", "x", "/a.b"),
        ("a/b~", "x", "/a~1b~0"),
        ("é" * 100, "x", "/" + ("\\xe9" * 64)),
        ("", "x", "/"),
        ("number", 1.5, "/number"),
        ("number", 2**31, "/number"),
        ("list", [], "/list"),
        ("object", {}, "/object"),
        ("text", "a\x85b", "/text"),
    ],
)
def test_an_attribute_that_the_specification_does_not_know_is_pointed_at(name: str, value: Any, pointer: str) -> None:
    assert wrong({**EVENT, name: value}) == ("ce_invalid_attribute", pointer)


def test_a_null_is_no_attribute_and_extensions_may_be_texts_numbers_and_truths() -> None:
    found = event_of({**EVENT, "time": None, "a1": 7, "b2": True, "c3": "", "data": None, "data_base64": None})
    assert dict(found.attributes) == {**EVENT, "a1": 7, "b2": True, "c3": ""}
    assert (found.data, found.data_json) == (None, None)


@pytest.mark.parametrize("value", [[], "x", 1, None, True])
def test_an_event_is_an_object(value: Any) -> None:
    assert wrong(value) == ("not_an_object", None)


@pytest.mark.parametrize("raw", [b"{", b'{"id":"\\ud800"}', b"\xff", b"{} {}", b"[" * 3_000])
def test_what_is_no_json_refuses_the_request(raw: bytes) -> None:
    assert wrong(raw)[0] in ("invalid_json", "json_depth")


@pytest.mark.parametrize("encoded", ["a", "a===", "é", "YQ==\n", 5, {}])
def test_base64_that_is_none_is_refused(encoded: Any) -> None:
    assert wrong({**EVENT, "data_base64": encoded}) == ("ce_invalid_attribute", "/data_base64")


def test_data_comes_in_one_form() -> None:
    assert wrong({**EVENT, "data": 1, "data_base64": "YQ=="}) == ("ce_conflict", "/data_base64")


def test_headers_beside_a_body_may_repeat_it_and_never_contradict_it() -> None:
    event = {**EVENT, "a1": 7, "b2": True, "subject": "Zoë"}
    event_of(event, {"id": b"42", "a1": b"7", "b2": b"true", "subject": b"Zo%C3%AB", "other": b"x"})
    for name, value in {"id": b"43", "b2": b"false", "subject": b"Zo\xc3\xab"}.items():
        assert wrong(event, {name: value}) == ("ce_conflict", f"/headers/ce-{name}")


def test_a_header_that_comes_twice_is_refused() -> None:
    check_repeated([(b"ce-id", b"1"), (b"accept", b"a"), (b"accept", b"b")])
    with pytest.raises(Refused) as caught:
        check_repeated([(b"ce-id", b"1"), (b"ce-id", b"1")])
    assert (caught.value.code, caught.value.pointer) == ("duplicate_header", "/headers/ce-id")


@pytest.mark.parametrize("name", ["datacontenttype", "data", "data_base64"])
def test_what_is_no_header_in_binary_mode_is_refused(name: str) -> None:
    assert refused({**_binary(EVENT), name: b"application/json"}, b"application/json", b"{}") == (
        "ce_invalid_attribute",
        f"/headers/ce-{name}",
    )


@pytest.mark.parametrize(
    ("content_type", "body", "data", "data_json"),
    [
        (b"application/json", b' {"a": 1e2} ', {"a": 100.0}, b'{"a": 1e2}'),
        (b"application/json", b'\xef\xbb\xbf{"a":1}', {"a": 1}, b'{"a":1}'),
        (b"application/vnd.shop+json; charset=utf-8", b"[1]", [1], b"[1]"),
        (None, b'{"a":1}', {"a": 1}, b'{"a":1}'),
        (b"application/json", b"", None, None),
        (b"text/plain", "grüezi".encode(), None, '{"data":"grüezi"}'.encode()),
        (b"application/xml", b"<a>&b;</a>", None, b'{"data":"<a>&b;</a>"}'),
        (b"text/plain; charset=latin-1", b"gr\xfc", None, b'{"data_base64":"Z3L8"}'),
        (b"text/plain", b"gr\xfc", None, b'{"data_base64":"Z3L8"}'),
        (b"image/png", b"\x89PNG", None, b'{"data_base64":"iVBORw=="}'),
    ],
)
def test_the_body_of_binary_mode_is_data_by_its_type(
    content_type: bytes | None, body: bytes, data: Any, data_json: bytes | None
) -> None:
    found = read_event(from_binary(_binary(EVENT), content_type, body))
    assert (found.data, found.data_json) == (data, data_json)
    named = found.attributes.get("datacontenttype")
    assert named == (content_type.decode() if content_type is not None else None)


@pytest.mark.parametrize("body", [b'1,"id":"other"', b'1},"x":{', b"{", b"nope", b'"\\ud800"', b" "])
def test_a_body_cannot_break_out_of_its_place(body: bytes) -> None:
    assert refused(_binary(EVENT), b"application/json", body)[0] in ("invalid_json", "empty_body")


def value_of(event: dict[str, Any]) -> Any:
    return json.loads(mapped(event_of(event)).value)


def test_an_event_becomes_a_track_whose_properties_are_its_data_byte_for_byte() -> None:
    raw = json.dumps(EVENT)[:-1].encode() + b', "subject": "ada", "data": {"revenue": 42.10, "b" :[ ]} }'
    found = mapped(read_event(raw))
    assert found.value == b'{"properties":{"revenue": 42.10, "b" :[ ]}}'
    verdict = judge(found.fields, found.value, REQUEST)
    assert (verdict.subject, verdict.name, verdict.message_id) == ("user:ada", "Order Completed", "42")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({}, {}),
        ({"data": None}, {}),
        ({"data": 5}, {"properties": {"data": 5}}),
        ({"data": "text"}, {"properties": {"data": "text"}}),
        ({"data": [1]}, {"properties": {"data": [1]}}),
        ({"data": False}, {"properties": {"data": False}}),
        ({"data_base64": "YQ=="}, {"properties": {"data_base64": "YQ=="}}),
    ],
)
def test_data_that_is_no_object_is_a_property_of_its_own(data: dict[str, Any], value: Any) -> None:
    assert value_of({**EVENT, **data}) == value


def test_data_of_another_type_is_kept_and_never_read() -> None:
    found = mapped(event_of({**EVENT, "datacontenttype": "application/xml", "data": "<!DOCTYPE a SYSTEM 'file:///'>"}))
    assert found.fields["properties"] is None
    assert json.loads(found.value) == {
        "properties": {"data": "<!DOCTYPE a SYSTEM 'file:///'>"},
        "context": {"cloudevents": {"datacontenttype": "application/xml"}},
    }


def test_extensions_go_into_the_context_and_never_among_our_own_marks() -> None:
    forged = {"sequence": "x", "flags": "old", "reason": "x", "place": "x", "call": "x", "dataschema": "urn:x"}
    assert value_of({**FULL, **forged, "groupid": "acme"}) == {
        "properties": {"revenue": 42},
        "context": {"groupId": "acme", "cloudevents": forged},
    }


@pytest.mark.parametrize(
    ("subject", "expected"),
    [("ada", "user:ada"), ("user:ada", "user:ada"), ("anon:7f", "anon:7f"), ("user:anon:x", "user:anon:x")],
)
def test_the_subject_is_the_customer(subject: str, expected: str) -> None:
    found = mapped(event_of({**EVENT, "subject": subject}))
    assert judge(found.fields, found.value, REQUEST).subject == expected


def test_an_account_can_be_the_subject() -> None:
    assert mapped(event_of({**EVENT, "subject": "account:acme"})).account == "account:acme"


@pytest.mark.parametrize(
    ("given", "code", "pointer"),
    [
        ({}, "no_identity", "/subject"),
        ({"subject": "anon:"}, "no_identity", "/subject"),
        ({"subject": " "}, "invalid_id", "/subject"),
        ({"subject": "x" * 600}, "invalid_id", "/subject"),
        ({"subject": "account:"}, "invalid_id", "/subject"),
        ({"subject": "ada", "groupid": " "}, "invalid_id", "/groupid"),
        ({"subject": "ada", "time": "yesterday"}, "invalid_timestamp", "/time"),
        ({"subject": "ada", "time": "2026-02-30T10:00:00Z"}, "invalid_timestamp", "/time"),
        ({"subject": "ada", "id": "x" * 256}, "invalid_message_id", "/id"),
        ({"subject": "ada", "type": "$identify"}, "reserved_event_name", "/type"),
        ({"subject": "ada", "type": "$stage:default"}, "reserved_event_name", "/type"),
        ({"subject": "ada", "type": "x" * 256}, "invalid_event_name", "/type"),
        ({"type": "parcours.track", "data": {"userId": "ada"}}, "invalid_event_name", "/data/event"),
        ({"type": "parcours.identify", "data": {"traits": {}}}, "no_identity", "/data/userId"),
        ({"type": "parcours.group", "data": {"userId": "ada"}}, "no_group_id", "/data/groupId"),
        ({"type": "parcours.alias", "data": {"userId": "ada"}}, "no_previous_id", "/data/previousId"),
        ({"type": "parcours.identify", "data": 5}, "not_an_object", "/data"),
        ({"type": "parcours.identify"}, "not_an_object", "/data"),
        ({"type": "parcours.identify", "data_base64": "YQ=="}, "not_an_object", "/data"),
        ({"type": "parcours.identify", "data": {"userId": "a", "type": "track"}}, "ce_conflict", "/data/type"),
        ({"type": "parcours.identify", "subject": "b", "data": {"userId": "a"}}, "ce_conflict", "/subject"),
        ({"type": "parcours.identify", "subject": "anon:b", "data": {"userId": "b"}}, "ce_conflict", "/subject"),
    ],
)
def test_what_the_judge_refuses_is_pointed_at_in_the_words_of_the_sender(
    given: dict[str, Any], code: str, pointer: str
) -> None:
    assert unacceptable(event_of({**EVENT, **given})) == (code, pointer)


def unacceptable(event: CloudEvent) -> tuple[str, str | None]:
    """Code and pointer of the reason why an event of the right format is not accepted."""
    try:
        found = mapped(event)
    except Unacceptable as reason:
        return reason.code, reason.pointer
    with pytest.raises(Unacceptable) as caught:
        judge(found.fields, found.value, REQUEST)
    return caught.value.code, pointer_of(event, caught.value)


def test_what_the_plan_says_of_a_property_is_pointed_at_in_the_data() -> None:
    reason = Unacceptable("invalid_event", None, "/properties/revenue")
    assert pointer_of(event_of(FULL), reason) == "/data/revenue"
    call = event_of({**EVENT, "type": "parcours.track", "data": {"event": "x", "userId": "ada"}})
    assert pointer_of(call, reason) == "/data/properties/revenue"


def test_the_data_of_a_call_is_that_call_byte_for_byte() -> None:
    body = b'{ "userId" : 7, "traits": {"plan": "pro"}, "timestamp": "2026-11-03T08:00:00Z" }'
    head = msgspec.json.encode({**EVENT, "type": "parcours.identify", "time": "2026-11-03T09:00:00Z", "subject": "7"})
    found = mapped(read_event(head[:-1] + b',"data":' + body + b"}"))
    assert found.value == body
    verdict = judge(found.fields, found.value, REQUEST)
    assert (verdict.subject, verdict.name, verdict.message_id) == ("user:7", "$identify", "42")
    assert verdict.time == b"2026-11-03T08:00:00.000Z"


def test_a_call_without_ids_time_and_account_takes_them_from_the_event() -> None:
    event = event_of(
        {**FULL, "type": "parcours.track", "data": {"event": "Signed In"}, "groupid": "acme", "region": "eu"}
    )
    found = mapped(event)
    verdict = judge(found.fields, found.value, REQUEST)
    assert (verdict.subject, verdict.account, verdict.time) == ("user:ada", "account:acme", b"2026-11-03T09:00:00.123Z")
    assert found.context == {"groupId": "acme", "cloudevents": {"region": "eu"}}
    assert found.value == b'{"event": "Signed In"}'
