"""The door over HTTP: what is taken, what is answered, and when."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest import handlers, http, lane, reading
from ingest.domain.limits import MAX_BODY
from ingest.http import ROUTES
from schemas.records import header, read_envelope
from schemas.topics import EVENTS, REJECTED, ROUTED
from services.eventlog.port import LogUnavailable
from tests.integration.ingest.serving import WAYS, Served, serving_by


@pytest.fixture(params=WAYS)
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A running door. Small requests are decided at once, or like all others in a task: nobody shall notice."""
    async with serving_by(tmp_path, request.param) as found:
        yield found


TRACK = {"userId": "ada", "event": "Signed In", "messageId": "m1"}
SUCCESS = b'{"success": true}'


def batch(*events: Any, **envelope: Any) -> bytes:
    return json.dumps({"batch": events, **envelope}).encode()


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which must have the shape and the headers that SDKs and browsers understand."""
    found = answer.json()
    assert list(found) == ["success", "code", "message"]
    assert found["success"] is False
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    return answer.status_code, found["code"]


@pytest.mark.parametrize("path", sorted(path.decode() for path in ROUTES))
async def test_every_route_answers_success_in_exactly_one_way(served: Served, path: str) -> None:
    body = (
        batch({"type": "track", **TRACK})
        if ROUTES[path.encode()] == "batch"
        else json.dumps({**TRACK, "groupId": "acme", "previousId": "7f"}).encode()
    )
    async with served.client() as client:
        answer = await client.post(path, content=body)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/json", SUCCESS)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert len(await served.records(EVENTS)) == (0 if path == "/v1/m" else 1)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("i", "$identify"), ("t", "Signed In"), ("p", "Page Viewed"), ("s", "Screen Viewed"),
        ("g", "$group"), ("a", "$alias"),
        ("identify", "$identify"), ("track", "Signed In"), ("page", "Page Viewed"), ("screen", "Screen Viewed"),
        ("group", "$group"), ("alias", "$alias"),
    ],
)  # fmt: skip
async def test_the_path_names_the_call(served: Served, path: str, names: str) -> None:
    async with served.client() as client:
        await client.post(f"/v1/{path}", json={**TRACK, "groupId": "acme", "previousId": "7f"})
    (record,) = await served.records(EVENTS)
    assert read_envelope(record).name == names


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "image/png"]
)
async def test_the_body_is_json_whatever_its_type_says(served: Served, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with served.client() as client:
        answer = await client.post("/v1/track", content=json.dumps(TRACK), headers=headers)
    assert answer.content == SUCCESS
    assert len(await served.records(EVENTS)) == 1


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "Multipart/Mixed", "a/b;" + "c=d;" * 2_000]
)
async def test_what_can_only_be_a_form_is_refused(served: Served, content_type: str) -> None:
    async with served.client() as client:
        answer = await client.post("/v1/track", content=b"{}", headers={"Content-Type": content_type})
    assert refused(answer) == (415, "unsupported_media_type")


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_come_plain_or_gzipped_whole_or_in_chunks(served: Served, compressed: bool, chunked: bool) -> None:
    body = batch(*({"type": "track", **TRACK, "messageId": f"m{n}"} for n in range(500)))
    sent = gzip.compress(body) if compressed else body
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    async with served.client() as client:
        answer = await client.post("/v1/batch", content=chunks(sent, 1_000) if chunked else sent, headers=headers)
    assert answer.content == SUCCESS
    assert len(await served.records(EVENTS)) == 500


async def test_a_body_in_a_hundred_thousand_pieces_is_one_body(served: Served) -> None:
    body = json.dumps({**TRACK, "properties": {"p": "x" * 100_000}}).encode()
    head = (
        b"POST /v1/track?writeKey=good HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    answer = await served.raw(head, pieces + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    (record,) = await served.records(EVENTS)
    assert record.value == body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"), (b"{", "invalid_json"), (b"{}", "expected_batch"), (b"[]", "expected_object"),
        (b'{"batch":[{]}', "invalid_json"), (b'{"batch":[{"a":1e999}]}', "invalid_json"),
        (b"[" * 200_000, "json_depth"),
        (b'{"batch":[{"a":"\\ud800"}]}', "invalid_json"), (b'{"batch":[{"a":"\xff"}]}', "invalid_json"),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_read_is_refused_and_the_connection_goes_on(
    served: Served, body: bytes, code: str
) -> None:
    async with served.client() as client:
        assert refused(await client.post("/v1/batch", content=body)) == (400, code)
        assert (await client.post("/v1/track", json=TRACK)).content == SUCCESS
    assert len(await served.records(EVENTS)) == 1
    assert served.door.counts.refused == {code: 1}


@pytest.mark.parametrize(
    ("headers", "body", "answer"),
    [
        ({"Content-Encoding": "gzip"}, b"{}", (400, "bad_encoding")),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"{}")[:-3], (400, "bad_encoding")),
        ({"Content-Encoding": "gzip"}, gzip.compress(gzip.compress(b"{}")), (415, "unsupported_encoding")),
        ({"Content-Encoding": "gzip"}, gzip.compress(bytes(MAX_BODY + 1)), (413, "body_too_large")),
        ({"Content-Encoding": "br"}, b"{}", (415, "unsupported_encoding")),
        ({"Content-Encoding": "gzip, gzip"}, b"{}", (415, "unsupported_encoding")),
        ({}, b'{"batch":[' + b"1," * 10_000 + b"1]}", (413, "too_many_events")),
        ({}, b"x" * (MAX_BODY + 1), (413, "body_too_large")),
    ],
)
async def test_what_is_too_large_or_wrongly_encoded_is_refused(
    served: Served, headers: dict[str, str], body: bytes, answer: tuple[int, str]
) -> None:
    async with served.client() as client:
        assert refused(await client.post("/v1/batch", content=body, headers=headers)) == answer
    assert await served.records(EVENTS) == await served.records(REJECTED) == []


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LINGER_SECONDS", 0.05)
    answer = await served.raw(b"POST /v1/batch?writeKey=good HTTP/1.1\r\nHost: x\r\nContent-Length: 4194305\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer
    assert b"connection: close" in answer


async def test_a_refusal_is_read_even_by_who_sends_all_of_a_large_body_first(served: Served) -> None:
    body = b'{"batch":[],"p":"%s"}' % (b"x" * (MAX_BODY - 100))
    async with httpx.AsyncClient(trust_env=False) as client:
        assert refused(await client.post(f"{served.url}/v1/batch?writeKey=bad", content=body)) == (
            401,
            "unknown_write_key",
        )
        basic = {"Authorization": "Basic YmFkOg=="}
        assert refused(await client.post(f"{served.url}/v1/batch", content=body, headers=basic)) == (
            401,
            "unknown_write_key",
        )


async def test_chunks_past_the_limit_are_refused_while_they_come(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post("/v1/batch", content=chunks(b"x" * (MAX_BODY + 70_000), 65_536))
    assert refused(answer) == (413, "body_too_large")


async def test_a_batch_of_nothing_is_accepted(served: Served) -> None:
    async with served.client() as client:
        assert (await client.post("/v1/batch", content=b'{"batch":[]}')).content == SUCCESS
    assert served.switch.appends == 0


async def test_one_bad_event_among_499_good_ones_is_kept_apart(served: Served) -> None:
    events: list[Any] = [{"type": "track", **TRACK, "messageId": f"m{n}"} for n in range(500)]
    events[250] = {"type": "track", "event": "Signed In", "properties": {"n": 250}}
    async with served.client() as client:
        assert (await client.post("/v1/batch", content=batch(*events))).content == SUCCESS
    assert len(await served.records(EVENTS)) == 499
    (apart,) = await served.records(REJECTED)
    assert json.loads(apart.value or b"") == events[250]
    assert (header(apart.headers, "ce_reason"), apart.key) == ("no_identity", b"default")
    assert (served.door.counts.accepted, dict(served.door.counts.rejected)) == (499, {"no_identity": 1})


async def test_every_kind_of_bad_event_is_kept_apart_with_its_reason(served: Served) -> None:
    bad: dict[str, Any] = {
        "not_an_object": 17,
        "unknown_type": {"userId": "ada"},
        "no_identity": {"type": "track", "event": "x", "userId": None},
        "invalid_id": {"type": "track", "event": "x", "userId": {}},
        "invalid_timestamp": {"type": "track", "event": "x", "userId": "ada", "timestamp": "2026-02-30T00:00:00Z"},
        "invalid_event_name": {"type": "track", "userId": "ada"},
        "invalid_properties": {"type": "track", "event": "x", "userId": "ada", "properties": []},
        "nul_in_string": {"type": "track", "event": "x", "userId": "ada", "properties": {"a\0": 1}},
        "event_too_large": {"type": "track", "event": "x", "userId": "ada", "p": ["x" * 9_000] * 30},
        "property_too_long": {"type": "track", "event": "x", "userId": "ada", "p": "x" * 1_048_576},
    }
    async with served.client() as client:
        assert (await client.post("/v1/batch", content=batch(*bad.values()))).content == SUCCESS
    records = await served.records(REJECTED)
    kept = {header(record.headers, "ce_reason"): json.loads(record.value or b"") for record in records}
    assert kept == bad
    assert await served.records(EVENTS) == []


async def test_an_event_nine_hundred_levels_deep_is_kept_apart(served: Served) -> None:
    deep = b'{"userId":"ada","event":"x","p":' + b"[" * 890 + b"]" * 890 + b"}"
    async with served.client() as client:
        assert (await client.post("/v1/track", content=deep)).content == SUCCESS
    (record,) = await served.records(REJECTED)
    assert (record.value, header(record.headers, "ce_reason")) == (deep, "too_deep")


@pytest.mark.parametrize(
    ("header_key", "query", "body_key"),
    [
        (("good", ""), "", None),
        (("good", '""'), "", "bad"),
        (None, "", "good"),
        (None, "?writeKey=bad", "good"),
        (None, "?writeKey=good", None),
        (None, "?a=b&writeKey=g%6Fod", ""),
        (("", ""), "", "good"),
    ],
)
async def test_the_write_key_stands_in_the_header_the_body_or_the_address(
    served: Served, header_key: tuple[str, str] | None, query: str, body_key: str | None
) -> None:
    async with served.client() as client:
        client.auth = header_key  # type: ignore[assignment]  # httpx takes what its constructor takes
        answer = await client.post(f"/v1/track{query}", json={**TRACK, "writeKey": body_key})
    assert answer.content == SUCCESS


@pytest.mark.parametrize(
    ("authorization", "body_key"),
    [
        (None, None), (None, "bad"), (None, 17), (None, {}), ("Basic YmFkOg==", "good"), ("Basic ####", "good"),
        ("Basic " + "A" * 2_000, "good"), ("Bearer good", None), ("Basic Og==", None), ("", ""),
    ],
)  # fmt: skip
async def test_a_missing_and_an_unknown_key_are_answered_alike(
    served: Served, authorization: str | None, body_key: Any
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{served.url}/v1/track", json={**TRACK, "writeKey": body_key}, headers=headers)
    assert refused(answer) == (401, "unknown_write_key")
    assert "www-authenticate" not in answer.headers
    assert served.switch.appends == 0


async def test_a_bearer_token_leaves_the_key_to_the_body(served: Served) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"Authorization": "Bearer anything"}
        answer = await client.post(f"{served.url}/v1/track", json={**TRACK, "writeKey": "good"}, headers=headers)
    assert answer.content == SUCCESS


async def test_unknown_keys_are_logged_once_a_minute_with_their_count(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[int]:
        return [record.requests for record in caplog.records if record.message == "ingest.unknown_write_key"]  # type: ignore[attr-defined]  # a field of the log line

    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        for _ in range(3):
            await client.post("/v1/track", json=TRACK)
        assert said() == [1]
        served.now += 60_000
        await client.post("/v1/track", json={**TRACK, "writeKey": "secret-of-somebody"})
        assert said() == [1, 3]
    assert "secret-of-somebody" not in caplog.text


async def test_keys_that_cannot_be_looked_up_are_a_reason_to_come_back(served: Served) -> None:
    served.keys.broken = True
    async with served.client() as client:
        answer = await client.post("/v1/track", json=TRACK)
    assert refused(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_nothing_is_answered_before_it_is_durable(served: Served) -> None:
    served.switch.open.clear()
    async with served.client() as client:
        waiting = asyncio.create_task(client.post("/v1/track", json=TRACK))
        await served.switch.reached.wait()
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        assert await served.records(EVENTS) == []
        served.switch.open.set()
        assert (await waiting).content == SUCCESS
    assert len(await served.records(EVENTS)) == 1


async def test_a_log_that_hangs_is_answered_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reading.ANSWER_SECONDS == 2.5
    monkeypatch.setattr(reading, "ANSWER_SECONDS", 0.05)
    served.switch.open.clear()
    async with served.client() as client:
        answer = await client.post("/v1/track", json=TRACK)
        assert refused(answer) == (503, "log_unavailable")
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["access-control-expose-headers"] == "Retry-After"
        served.switch.open.set()
        assert (await client.post("/v1/track", json=TRACK)).content == SUCCESS


@pytest.mark.parametrize("failure", [LogUnavailable(), ZeroDivisionError()])
async def test_a_log_that_fails_is_no_success(served: Served, failure: Exception) -> None:
    served.switch.failures = [failure]
    async with served.client() as client:
        assert refused(await client.post("/v1/track", json=TRACK)) == (503, "log_unavailable")
    assert served.door.counts.accepted == 0


async def test_an_event_that_its_topic_cannot_hold_is_kept_apart_not_tried_for_ever(served: Served) -> None:
    served.switch.too_large = {EVENTS}
    async with served.client() as client:
        assert (await client.post("/v1/track", json=TRACK)).content == SUCCESS
        (record,) = await served.records(REJECTED)
        assert header(record.headers, "ce_reason") == "record_too_large"
        served.switch.too_large = {EVENTS, REJECTED}
        assert refused(await client.post("/v1/track", json=TRACK)) == (413, "body_too_large")
    assert served.door.counts.accepted == 0


async def test_the_accounts_copy_has_the_same_id_and_bytes(served: Served) -> None:
    events = [
        {"type": "track", **TRACK},
        {"type": "track", **TRACK, "messageId": "m2", "context": {"groupId": "other"}},
    ]
    async with served.client() as client:
        await client.post("/v1/batch", content=batch(*events, context={"groupId": 7}))
    own = {header(record.headers, "ce_id"): record for record in await served.records(EVENTS)}
    copies = {header(record.headers, "ce_id"): record for record in await served.records(ROUTED)}
    assert {found: record.value for found, record in own.items()} == {
        found: record.value for found, record in copies.items()
    }
    assert {found: read_envelope(record).subject for found, record in copies.items()} == {
        "m1": "account:7",
        "m2": "account:other",
    }


async def test_a_retry_is_not_taken_for_a_clock_that_is_late(served: Served) -> None:
    event = {**TRACK, "timestamp": "2026-11-03T08:00:00Z", "sentAt": "2026-11-03T09:00:00Z"}
    async with served.client() as client:
        await client.post("/v1/track", json={**event, "messageId": "first"})
        await client.post("/v1/track", json={**event, "messageId": "again"}, headers={"X-Retry-Count": "2"})
        del event["sentAt"]
        await client.post(
            "/v1/track", json={**event, "messageId": "header"}, headers={"SentAt": "2026-11-03T09:00:00Z"}
        )
    times = {found.message_id: found for found in map(read_envelope, await served.records(EVENTS))}
    assert times["first"].occurred_at - times["again"].occurred_at == 3_600_000
    assert times["header"].occurred_at == times["first"].occurred_at
    assert (times["first"].flags, times["again"].flags) == (("clock_skew",), ())


async def test_the_first_event_is_told_of_once(served: Served) -> None:
    library = {"library": {"name": "analytics-python", "version": "2.4.0"}}
    async with served.client() as client:
        await client.post("/v1/track", json={"event": "nobody"})
        assert served.first == []
        await client.post("/v1/track", json={**TRACK, "context": library})
        await client.post("/v1/track", json=TRACK)
    assert served.first == [("Signed In", "user:ada", "analytics-python", "2.4.0")]


async def test_a_browser_may_ask_first(served: Served) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"Origin": "http://shop.example", "Access-Control-Request-Headers": "authorization,x-retry-count"}
        answer = await client.options(f"{served.url}/v1/t", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "anonymousid", "sentat", "x-retry-count"} <= set(allowed)
    assert answer.headers["access-control-max-age"] == "86400"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_events_are_posted(served: Served, method: str) -> None:
    async with served.client() as client:
        answer = await client.request(method, "/v1/track")
    assert refused(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("name", ["Authorization", "Content-Encoding"])
async def test_a_header_that_decides_stands_only_once(served: Served, name: str) -> None:
    head = f"POST /v1/track HTTP/1.1\r\nHost: x\r\n{name}: a\r\n{name}: b\r\nContent-Length: 2\r\n\r\n{{}}"
    answer = await served.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"duplicate_header" in answer


async def test_too_much_before_the_body_is_refused(served: Served) -> None:
    async with served.client() as client:
        many = {f"X-{n}": "1" for n in range(200)}
        assert refused(await client.post("/v1/track", json=TRACK, headers=many)) == (431, "headers_too_large")
        assert refused(await client.post("/v1/track", json=TRACK, headers={"X": "x" * 17_000})) == (
            431,
            "headers_too_large",
        )
        assert refused(await client.post(f"/v1/track?x={'x' * 9_000}", json=TRACK)) == (414, "uri_too_long")


async def test_a_body_that_never_comes_ends_in_a_timeout(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_SECONDS", 0.05)
    head = b"POST /v1/track?writeKey=good HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    answer = await served.raw(head)
    assert b"HTTP/1.1 408" in answer


async def test_too_much_in_flight_is_put_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_IN_FLIGHT", 4_000)
    async with served.client() as client:
        answer = await client.post("/v1/track", json={**TRACK, "p": "x" * 4_000})
        assert refused(answer) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "2"
        assert (await client.post("/v1/track", json=TRACK)).content == SUCCESS


async def test_a_client_that_goes_away_leaves_nothing_behind(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /v1/track?writeKey=good HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with served.client() as client:
        assert (await client.post("/v1/track", json=TRACK)).content == SUCCESS
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_bug_is_answered_without_a_trace(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(handlers, "Admission", broken)
    monkeypatch.setattr(lane, "Admission", broken)
    async with served.client() as client:
        answer = await client.post("/v1/track", json=TRACK)
    assert refused(answer) == (500, "internal_error")
    assert "secret" not in answer.text
