"""CloudEvents over HTTP: what is taken, what each event is told, and what stands on the log afterwards."""

import gzip
import json
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from ingest.native import PATH
from schemas.records import header, read_envelope
from schemas.topics import EVENTS, REJECTED, ROUTED
from tests.integration.ingest.native_serving import (
    BATCH,
    EVENT,
    NativeServed,
    envelopes,
    other,
    problem_of,
    receipt_of,
    statuses,
)

CE = {"ce-specversion": "1.0", "ce-id": "42", "ce-source": "https://shop.example/orders", "ce-type": "Order Completed"}


async def test_an_event_is_on_the_log_under_its_own_source_before_it_is_acknowledged(native: NativeServed) -> None:
    receipt = receipt_of(await native.post(EVENT))
    assert receipt == {
        "accepted": 1,
        "duplicates": 0,
        "rejected": [],
        "events": [{"index": 0, "id": "42", "status": "accepted"}],
    }
    (record,) = await native.served.records(EVENTS)
    assert record.value == b'{"properties":{"revenue":42}}'
    assert header(record.headers, "ce_id") == "42"
    assert header(record.headers, "ce_source") == "https://shop.example/orders"
    assert header(record.headers, "parcours_source") == "/sources/shop"
    envelope = read_envelope(record)
    assert (envelope.subject, envelope.name) == ("user:ada", "Order Completed")
    assert envelope.message_id == "https://shop.example/orders#42"


def sdk_event(**attributes: Any) -> CloudEvent:
    given = {"type": "Order Completed", "source": "https://shop.example/orders", "subject": "Zoë 100%", **attributes}
    return CloudEvent({**given, "id": "e-1", "datacontenttype": "application/json"}, {"revenue": 42, "note": None})


@pytest.mark.parametrize("mode", [to_binary, to_structured])
async def test_the_official_sdk_is_taken_in_both_its_modes(native: NativeServed, mode: Any) -> None:
    message = mode(sdk_event(region="eu", groupid="acme"), JSONFormat())
    async with native.client() as client:
        receipt = receipt_of(await client.post(PATH, headers=message.headers, content=message.body))
    assert statuses(receipt) == [("accepted", None)]
    (record,) = await native.served.records(EVENTS)
    assert json.loads(record.value or b"") == {
        "properties": {"revenue": 42, "note": None},
        "context": {"groupId": "acme", "cloudevents": {"region": "eu"}},
    }
    assert read_envelope(record).subject == "user:Zoë 100%"
    (copy,) = await native.served.records(ROUTED)
    assert read_envelope(copy).subject == "account:acme"
    assert read_envelope(copy).message_id == read_envelope(record).message_id


async def test_the_sdk_for_javascript_is_taken_as_it_really_sends(native: NativeServed) -> None:
    structured = {**EVENT, "datacontenttype": "application/json", "time": "2026-11-03T09:00:00.000Z"}
    answer = await native.post(structured, "application/cloudevents+json; charset=utf-8")
    assert statuses(receipt_of(answer)) == [("accepted", None)]
    headers = {**CE, "ce-id": "43", "ce-subject": "ada l", "content-type": "application/json; charset=utf-8"}
    async with native.client() as client:
        receipt_of(await client.post(PATH, headers=headers, content=b'{"revenue":42}'))
        # It writes header values as they are: what is more than ASCII cannot be told from bytes of another alphabet.
        raw = [
            *((name.encode(), value.encode()) for name, value in headers.items()),
            (b"ce-name", "Zoë".encode("latin-1")),
        ]
        refusal = await client.post(PATH, headers=raw, content=b"{}")
    assert problem_of(refusal) == (400, "ce_invalid_attribute", ["/headers/ce-name"])
    assert [envelope.subject for envelope in await envelopes(native)].count("user:ada l") == 1


async def test_a_batch_tells_each_event_what_became_of_it(native: NativeServed) -> None:
    events = [
        EVENT,
        other(id="43", subject=None),
        other(id="44", specversion="0.3"),
        "nonsense",
        other(id="45", source=None),
        other(id="46", data={"a": "\x00"}),
        other(id="47", time="2099-01-01T00:00:00Z"),
        other(id="48", type="$identify"),
    ]
    receipt = receipt_of(await native.post(events, BATCH))
    assert receipt["accepted"] == 2
    assert [(each["id"], each["status"], each.get("code"), each.get("pointer")) for each in receipt["events"]] == [
        ("42", "accepted", None, None),
        ("43", "rejected", "no_identity", "/subject"),
        (None, "rejected", "ce_version", "/specversion"),
        (None, "rejected", "not_an_object", None),
        (None, "rejected", "ce_missing_attribute", "/source"),
        ("46", "rejected", "nul_in_string", None),
        ("47", "accepted", None, None),
        ("48", "rejected", "reserved_event_name", "/type"),
    ]
    assert receipt["events"][6]["flags"] == ["clock_skew"]
    assert [each["index"] for each in receipt["rejected"]] == [1, 2, 3, 4, 5, 7]
    assert len(await native.served.records(EVENTS)) == 2


async def test_a_rejected_event_is_kept_as_it_came(native: NativeServed) -> None:
    body = b'[ {"specversion": "1.0",  "id":"1"}, 7 ]'
    async with native.client() as client:
        receipt_of(await client.post(PATH, content=body, headers={"content-type": BATCH}))
    kept = {header(record.headers, "ce_reason"): record for record in await native.served.records(REJECTED)}
    assert {code: record.value for code, record in kept.items()} == {
        "ce_missing_attribute": b'{"specversion": "1.0",  "id":"1"}',
        "not_an_object": b"7",
    }
    assert {header(record.headers, "ce_call") for record in kept.values()} == {"events"}
    assert native.served.door.counts.rejected == {"ce_missing_attribute": 1, "not_an_object": 1}


async def test_a_rejected_event_in_binary_mode_is_kept_with_its_attributes(native: NativeServed) -> None:
    async with native.client() as client:
        answer = await client.post(PATH, headers={**CE, "content-type": "text/plain"}, content=b"gr\xc3\xbcezi")
    assert statuses(receipt_of(answer)) == [("rejected", "no_identity")]
    (record,) = await native.served.records(REJECTED)
    kept = {"datacontenttype": "text/plain", "data": "grüezi"}
    assert json.loads(record.value or b"") == {**{name[3:]: value for name, value in CE.items()}, **kept}


@pytest.mark.parametrize("content_type", [BATCH, "application/json"])
async def test_a_batch_may_be_empty(native: NativeServed, content_type: str) -> None:
    receipt = receipt_of(await native.post([], content_type))
    assert receipt == {"accepted": 0, "duplicates": 0, "rejected": [], "events": []}
    assert native.served.switch.appends == 0


async def test_plain_json_is_one_event_or_a_list(native: NativeServed) -> None:
    assert receipt_of(await native.post(EVENT, "application/json"))["accepted"] == 1
    assert receipt_of(await native.post([other(id="43"), other(id="44")], "application/json"))["accepted"] == 2


async def test_the_body_of_a_call_is_that_call_on_the_log(native: NativeServed) -> None:
    body = {"userId": "ada", "traits": {"plan": "pro"}}
    receipt_of(await native.post(other(type="parcours.identify", data=body, region="eu")))
    (record,) = await native.served.records(EVENTS)
    assert json.loads(record.value or b"") == body
    assert read_envelope(record).name == "$identify"
    assert json.loads(header(record.headers, "parcours_envelope") or "") == {
        "context": {"cloudevents": {"region": "eu"}}
    }


async def test_an_event_of_an_account_goes_to_the_account(native: NativeServed) -> None:
    receipt_of(await native.post(other(subject="account:acme", groupid="acme")))
    assert [envelope.subject for envelope in await envelopes(native)] == ["account:acme"]
    assert await native.served.records(ROUTED) == []


@pytest.mark.parametrize("name", ["sequence", "flags", "reason", "place", "call", "id2"])
async def test_an_extension_never_becomes_a_mark_of_our_own(native: NativeServed, name: str) -> None:
    receipt_of(await native.post(other(**{name: "forged"})))
    (record,) = await native.served.records(EVENTS)
    assert f"ce_{name}" not in dict(record.headers)
    assert read_envelope(record).flags == ()
    assert read_envelope(record).sequence is None


REFUSED = [
    (b"", "empty_body", []),
    (b" \n", "empty_body", []),
    (b"{", "invalid_json", []),
    (b"[1", "invalid_json", []),
    (b'{"id":"\\ud800"}', "invalid_json", []),
    (b"\xff\xfe", "invalid_json", []),
    (b"[" * 200_000, "json_depth", []),
    (b"{}\n{}", "invalid_json", []),
    (b"5", "expected_events", []),
    (b"null", "expected_events", []),
    (b'"text"', "expected_events", []),
    (b"{}", "ce_missing_attribute", ["/id"]),
    (b'{"specversion":"2.0"}', "ce_version", ["/specversion"]),
    (json.dumps(other(userId="ada")).encode(), "ce_invalid_attribute", ["/userId"]),
    (json.dumps(other(data_base64="YQ==")).encode(), "ce_conflict", ["/data_base64"]),
    (json.dumps(other(data=None, data_base64="?")).encode(), "ce_invalid_attribute", ["/data_base64"]),
    (b'[],"batch":[{}]', "invalid_json", []),
    (b"[]]", "invalid_json", []),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "pointers"), REFUSED)
async def test_what_is_no_event_is_refused_as_a_problem_and_nothing_is_stored(
    native: NativeServed, body: bytes, code: str, pointers: list[str]
) -> None:
    async with native.client() as client:
        answer = await client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert problem_of(answer) == (400, code, pointers)
    assert native.served.switch.appends == 0
    assert native.served.door.counts.refused == {code: 1}


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        (BATCH, b"{}", "expected_events"),
        ("application/cloudevents+json", b"[]", "expected_events"),
        (BATCH, b"7", "expected_events"),
    ],
)
async def test_a_body_is_of_the_mode_that_its_type_says(
    native: NativeServed, content_type: str, body: bytes, code: str
) -> None:
    async with native.client() as client:
        answer = await client.post(PATH, content=body, headers={"content-type": content_type})
    assert problem_of(answer) == (400, code, [])


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/cloudevents+avro", "application/cloudevents-batch+xml", "a/b;" + "c=d;" * 2_000,
    ],
)  # fmt: skip
async def test_other_types_are_refused_before_anything_is_read(native: NativeServed, content_type: str) -> None:
    assert problem_of(await native.post(EVENT, content_type)) == (415, "unsupported_media_type", [])
    answer = await native.post({}, content_type, **{**CE, "ce-subject": "ada"})
    if content_type not in ("text/plain",):
        assert problem_of(answer)[:2] == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("headers", "code", "pointers"),
    [
        ({"ce-id": "43"}, "ce_conflict", ["/headers/ce-id"]),
        ({"ce-subject": "ad%61"}, None, []),
        ({"ce-subject": "%zz"}, "ce_conflict", ["/headers/ce-subject"]),
        ({"ce-other": "x"}, None, []),
    ],
)
async def test_headers_beside_a_body_never_contradict_it(
    native: NativeServed, headers: dict[str, str], code: str | None, pointers: list[str]
) -> None:
    answer = await native.post(EVENT, **headers)
    if code is None:
        assert receipt_of(answer)["accepted"] == 1
    else:
        assert problem_of(answer) == (400, code, pointers)


async def test_a_batch_has_no_attributes_in_headers(native: NativeServed) -> None:
    assert problem_of(await native.post([EVENT], BATCH, **{"ce-id": "42"})) == (400, "ce_conflict", [])


@pytest.mark.parametrize(
    ("headers", "code", "pointer"),
    [
        ({"ce-id": None}, "ce_missing_attribute", "/headers/ce-id"),
        ({"ce-specversion": "0.3"}, "ce_version", "/headers/ce-specversion"),
        ({"ce-subject": "a%0d%0aX-Evil: 1"}, "ce_invalid_attribute", "/headers/ce-subject"),
        ({"ce-subject": "%C0%A0"}, "ce_invalid_attribute", "/headers/ce-subject"),
        ({"ce-datacontenttype": "text/xml"}, "ce_invalid_attribute", "/headers/ce-datacontenttype"),
        ({"ce-under_score": "x"}, "ce_invalid_attribute", "/headers/ce-under_score"),
        ({"ce-": "x"}, "ce_invalid_attribute", "/headers/ce-"),
    ],
)
async def test_attributes_in_headers_are_pointed_at_there(
    native: NativeServed, headers: dict[str, str | None], code: str, pointer: str
) -> None:
    named = {name: value for name, value in {**CE, **headers}.items() if value is not None}
    async with native.client() as client:
        answer = await client.post(PATH, headers={**named, "content-type": "application/json"}, content=b"{}")
    assert problem_of(answer) == (400, code, [pointer])
    assert native.served.switch.appends == 0


@pytest.mark.parametrize("name", ["ce-id", "content-type"])
async def test_a_header_that_says_what_an_event_is_comes_once(native: NativeServed, name: str) -> None:
    given = {**CE, "content-type": "application/json"}
    async with native.client() as client:
        answer = await client.post(PATH, headers=[*given.items(), (name, given[name])], content=b"")
    assert problem_of(answer) == (400, "duplicate_header", [f"/headers/{name}"])


async def test_attributes_that_are_too_much_for_headers_or_a_body_are_refused(native: NativeServed) -> None:
    many = {f"ext{number}": "x" * 65_536 for number in range(100)}
    assert problem_of(await native.post({**EVENT, **many}))[:2] == (413, "body_too_large")
    answer = await native.post({}, "application/json", **{f"ce-ext{number}": "x" * 600 for number in range(60)})
    # The server itself may answer this before it knows the route.
    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")


async def test_an_event_above_the_limit_is_kept_apart_and_64_kib_always_pass(native: NativeServed) -> None:
    assert receipt_of(await native.post(other(data={"a": "x" * 65_536})))["accepted"] == 1
    many = {str(number): "x" * 300 for number in range(900)}
    receipt = receipt_of(await native.post([other(id="43", data=many), other(id="44")], BATCH))
    assert statuses(receipt) == [("rejected", "event_too_large"), ("accepted", None)]


async def test_bodies_come_gzipped_too(native: NativeServed) -> None:
    headers = {"content-type": BATCH, "content-encoding": "gzip"}
    events = [other(id=str(number)) for number in range(1_000)]
    async with native.client() as client:
        receipt = receipt_of(
            await client.post(PATH, content=gzip.compress(json.dumps(events).encode()), headers=headers)
        )
        refusal = await client.post(PATH, content=b"no gzip", headers=headers)
    assert receipt["accepted"] == 1_000
    assert problem_of(refusal) == (400, "bad_encoding", [])


async def test_a_batch_of_too_many_is_refused(native: NativeServed) -> None:
    async with native.client() as client:
        for item in (b"{}", b"1", b"[]"):
            body = b"[" + b",".join([item] * 10_001) + b"]"
            answer = await client.post(PATH, content=body, headers={"content-type": BATCH})
            assert problem_of(answer) == (413, "too_many_events", [])


@pytest.mark.parametrize(
    ("headers", "query", "known"),
    [
        ({"Authorization": "Basic Z29vZDo="}, "", True),
        ({"Authorization": "Bearer good"}, "", True),
        ({"Authorization": "bearer  good"}, "", True),
        ({}, "?writeKey=good", True),
        ({}, "?access_token=good", True),
        ({}, "", False),
        ({}, "?writeKey=bad", False),
        ({"Authorization": "Bearer bad"}, "?writeKey=good", False),
        ({"Authorization": "Bearer " + "x" * 2_000}, "", False),
        ({"Authorization": "Basic !"}, "", False),
        ({"Authorization": "Digest good"}, "", False),
    ],
)
async def test_the_write_key_comes_as_basic_bearer_or_in_the_address(
    native: NativeServed, headers: dict[str, str], query: str, known: bool
) -> None:
    async with httpx.AsyncClient(base_url=native.served.url, trust_env=False) as client:
        answer = await client.post(PATH + query, json=EVENT, headers=headers)
    if known:
        assert receipt_of(answer)["accepted"] == 1
    else:
        assert problem_of(answer) == (401, "unknown_write_key", [])
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_other_methods_are_refused_and_preflights_need_no_key(native: NativeServed) -> None:
    async with httpx.AsyncClient(base_url=native.served.url, trust_env=False) as client:
        answer = await client.get(PATH)
        preflight = await client.options(PATH, headers={"Origin": "https://shop.example"})
        handshake = await client.options(PATH, headers={"WebHook-Request-Origin": "eventemitter.example.com"})
    assert problem_of(answer) == (405, "method_not_allowed", [])
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert (preflight.status_code, preflight.headers["access-control-allow-methods"]) == (204, "POST, OPTIONS")
    assert {"authorization", "ce-id", "idempotency-key"} <= set(
        preflight.headers["access-control-allow-headers"].split(", ")
    )
    assert "webhook-allowed-origin" not in preflight.headers
    assert handshake.status_code == 200
    assert (handshake.headers["webhook-allowed-origin"], handshake.headers["webhook-allowed-rate"]) == ("*", "*")
