"""What the door lets in and passes on: limits, sizes, traces, shared context; and what it tells of itself."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest import reading
from ingest.handlers import Policy
from ingest.ports import Answered, Source
from schemas.records import Record, header
from schemas.topics import EVENTS, REJECTED, ROUTED
from services.eventlog.port import LogBusy
from tests.integration.ingest.serving import NOW, WAYS, Served, serving, serving_by

TRACK = {"userId": "ada", "event": "Signed In", "messageId": "m1"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(params=WAYS)
async def served(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A running door, with and without the fast lane."""
    async with serving_by(tmp_path, request.param) as found:
        yield found


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


class Limits:
    """Counts what is asked, and refuses from some number of events on."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[tuple[str | None, str, int]] = []

    def admit(self, source: Source | None, address: str, events: int) -> int | None:
        self.asked.append((None if source is None else source.name, address, events))
        return 7 if sum(asked[2] for asked in self.asked if asked[0] is not None) > self.most else None


async def test_what_is_over_a_limit_is_told_when_to_come_again(served: Served) -> None:
    limits = Limits(10)
    served.door.policy = Policy(limits=limits, addresses=lambda peer, forwarded: f"{peer} for {forwarded!r}")
    events = [{"type": "track", **TRACK, "messageId": f"m{number}"} for number in range(6)]
    async with served.client(headers={"X-Forwarded-For": "1.2.3.4"}) as client:
        assert (await client.post("/v1/batch", json={"batch": events})).status_code == 200
        answer = await client.post("/v1/batch", json={"batch": events})
        assert code_of(answer) == (429, "rate_limited")
        assert answer.headers["retry-after"] == "7"
        assert answer.headers["access-control-expose-headers"] == "Retry-After"
        assert (await client.post("/v1/track", content=b"{")).status_code in (400, 429)
    assert len(await served.records(EVENTS)) == 6
    assert {asked[1] for asked in limits.asked} == {"127.0.0.1 for b'1.2.3.4'"}
    assert [asked[2] for asked in limits.asked if asked[0] == "shop"][:2] == [6, 6]
    assert served.door.counts.limited["shop"] == 1


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/v1/import"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
async def test_json_line_by_line_is_refused_whole(served: Served, path: str, content_type: str) -> None:
    event = TRACK if path == "/v1/track" else {"batch": [{"type": "track", **TRACK}]}
    line = json.dumps(event).encode() + b"\n"
    async with served.client(headers={"Content-Type": content_type}) as client:
        assert code_of(await client.post(path, content=line * 2)) == (400, "invalid_json")
        assert (await client.post(path, content=line)).status_code == 200
    assert len(await served.records(EVENTS)) == 1


@pytest.mark.parametrize(
    "context", [{"ip": "999.1.1.1"}, {"userAgent": "x" * 65_536}, {"ip": ["::1", 7], "userAgent": {"é": None}}]
)
async def test_what_the_context_says_of_address_and_browser_is_kept_and_not_interpreted(
    served: Served, context: Mapping[str, Any]
) -> None:
    event = json.dumps({**TRACK, "context": context}).encode()
    async with served.client() as client:
        assert (await client.post("/v1/track", content=event)).status_code == 200
    (record,) = await served.records(EVENTS)
    assert record.value == event
    assert await served.records(REJECTED) == []


@pytest.mark.parametrize("limited", [False, True])
async def test_a_flood_of_one_customer_leaves_the_others_served(served: Served, limited: bool) -> None:
    flooding, statuses = True, Counter[int]()
    batch = {"batch": [{"type": "track", "userId": "hot", "event": "Clicked"}] * 500}
    if limited:
        served.door.policy = Policy(limits=OfTheFlood())

    async def flood(client: httpx.AsyncClient) -> None:
        while flooding:
            statuses[(await client.post("/v1/batch", json=batch)).status_code] += 1

    async with served.client() as hot, served.client() as client, asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(flood(hot))
        while not statuses:  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.01)
        for number in range(20):
            async with asyncio.timeout(3):
                answer = await client.post("/v1/track", json={**TRACK, "messageId": f"calm-{number}"})
            assert answer.status_code == 200
        flooding = False
    assert set(statuses) <= {200, 429}
    assert (429 in statuses) == limited
    assert len([record for record in await served.records(EVENTS) if b"calm-" in (record.value or b"")]) == 20


class OfTheFlood:
    """Limits that the flood has reached: its requests are those with many events."""

    def admit(self, source: Source | None, address: str, events: int) -> int | None:
        return 1 if source is not None and events > 100 else None


async def test_an_unknown_key_is_charged_to_its_address(served: Served) -> None:
    limits = Limits(10)
    served.door.policy = Policy(limits=limits)
    async with httpx.AsyncClient(auth=("bad", ""), trust_env=False) as client:
        assert code_of(await client.post(f"{served.url}/v1/track", json=TRACK)) == (401, "unknown_write_key")
    assert limits.asked[-1] == (None, "127.0.0.1", 50)


async def test_sizes_can_be_set_and_the_answers_name_them(served: Served) -> None:
    served.door.policy = Policy(max_body=70_000, max_event=2_000)
    async with served.client() as client:
        answer = await client.post("/v1/track", content=b"{" + b" " * 70_000 + b"}")
        assert code_of(answer) == (413, "body_too_large")
        assert "70,000" in answer.json()["message"]
        await client.post("/v1/track", json={**TRACK, "p": ["x" * 100] * 30})
    (record,) = await served.records(REJECTED)
    assert header(record.headers, "ce_reason") == "event_too_large"
    assert "2,000" in (header(record.headers, "ce_detail") or "")


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"traceparent": TRACE}, {"traceparent": TRACE}),
        ({"traceparent": TRACE, "tracestate": "a=b,c=d"}, {"traceparent": TRACE, "tracestate": "a=b,c=d"}),
        ({"traceparent": TRACE, "tracestate": "x" * 513}, {"traceparent": TRACE}),
        ({"tracestate": "a=b"}, {}),
        ({"traceparent": TRACE.upper()}, {}),
        ({"traceparent": TRACE + "-x"}, {}),
        ({"traceparent": "ff" + TRACE[2:]}, {}),
        ({"traceparent": "00-" + "0" * 32 + TRACE[35:]}, {}),
        ({"traceparent": TRACE[:36] + "0" * 16 + "-01"}, {}),
        ({}, {}),
    ],
)
async def test_a_trace_goes_along_where_it_is_valid(
    served: Served, headers: Mapping[str, str], kept: Mapping[str, str]
) -> None:
    async with served.client() as client:
        await client.post("/v1/track", json={**TRACK, "context": {"groupId": "acme"}}, headers=headers)
        await client.post("/v1/track", json={"event": "nobody"}, headers=headers)
    for topic in (EVENTS, ROUTED, REJECTED):
        (record,) = await served.records(topic)
        assert {name: value.decode() for name, value in record.headers if name.startswith("trace")} == kept


async def test_what_a_batch_shares_stands_beside_each_of_its_events(served: Served) -> None:
    shared = '"context":{"library":{"name":"analytics-go"},"n":1.50},"integrations":{"All":false}'
    body = '{"batch":[{"type":"track","event":"x","userId":"ada"},{"type":"track"}],' + shared + "}"
    async with served.client() as client:
        await client.post("/v1/batch", content=body)
    for topic in (EVENTS, REJECTED):
        (record,) = await served.records(topic)
        assert header(record.headers, "parcours_envelope") == "{" + shared + "}"


async def test_what_is_too_much_to_go_along_is_said_on_each_event(served: Served) -> None:
    events = [{"type": "track", **TRACK, "messageId": f"m{number}"} for number in range(100)]
    async with served.client() as client:
        await client.post("/v1/batch", json={"batch": events, "context": {"p": "x" * 100_000}})
    records = await served.records(EVENTS)
    assert len(records) == 100
    assert {header(record.headers, "parcours_envelope") for record in records} == {None}
    assert {header(record.headers, "ce_flags") for record in records} == {"envelope_dropped"}


async def test_what_is_kept_apart_carries_what_the_door_needs_to_take_it_again(served: Served) -> None:
    async with served.client() as client:
        await client.post(
            "/v1/batch",
            json={"batch": [{"type": "track"}], "sentAt": "2026-11-03T09:59:59.000Z", "context": {"groupId": 7}},
            headers={"X-Retry-Count": "1"},
        )
    (record,) = await served.records(REJECTED)
    found = {name: value.decode() for name, value in record.headers if name.startswith("orig_")}
    assert found == {
        "orig_received_at": str(NOW), "orig_sent_at": str(NOW - 1_000), "orig_retry": "1", "orig_group": "7"
    }  # fmt: skip


async def test_a_log_that_has_too_much_to_do_is_a_reason_to_come_back(served: Served) -> None:
    served.switch.failures = [LogBusy()]
    async with served.client() as client:
        answer = await client.post("/v1/track", json=TRACK)
    assert code_of(answer) == (429, "too_many_requests")
    assert answer.headers["retry-after"] == "2"


async def test_looking_up_a_key_and_appending_share_one_deadline(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ANSWER_SECONDS", 0.3)
    plain, too_late = served.keys.source, asyncio.Event()

    async def slow(write_key: str) -> Source | None:
        await asyncio.sleep(0.2)
        return await plain(write_key)

    async def never(_records: Sequence[Record]) -> Sequence[Exception | None]:
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            too_late.set()
            raise
        return [None]

    monkeypatch.setattr(served.keys, "source", slow)
    monkeypatch.setattr(served.switch, "append", never)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{served.url}/v1/track", json={**TRACK, "writeKey": "good"})
    assert code_of(answer) == (503, "log_unavailable")
    assert too_late.is_set()


async def test_keys_that_are_not_found_in_time_are_a_reason_to_come_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_write_key: str) -> Source | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(reading, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(served.keys, "source", never)
    if served.app.lane is not None:
        monkeypatch.setattr(served.app.lane, "_at_hand", lambda _: None)
    async with served.client() as client:
        assert code_of(await client.post("/v1/track", json=TRACK)) == (503, "unavailable")


async def test_what_the_door_did_can_be_read_as_numbers(served: Served) -> None:
    served.door.counts.now = iter(range(1_000)).__next__
    bad: list[Any] = [{"type": "track", **TRACK}, {"type": "track"}]
    async with served.client() as client:
        await client.post("/v1/batch", json={"batch": bad})
        await client.post("/v1/track", content=b"{")
    found = {
        (family.name + labels.get("", ""), *(label for name, label in labels.items() if name)): value
        for family in served.door.counts.families(served.door.in_flight.bytes)
        for labels, value in family.samples
    }
    assert found["events_accepted_total",] == 1
    assert found["events_rejected_total", "invalid_event_name"] == 1
    assert found["requests_refused_total", "invalid_json"] == 1
    assert found["ingest_request_seconds_count", "batch", "2xx"] == 1
    assert found["ingest_request_seconds_count", "track", "4xx"] == 1
    assert found["ingest_batch_events_bucket", "1"] == 0
    assert found["ingest_batch_events_bucket", "10"] == found["ingest_batch_events_bucket", "+Inf"] == 1
    assert found["ingest_batch_events_sum",] == 2
    assert found["ingest_log_seconds_count",] == 1
    assert found["ingest_in_flight_bytes",] == 0


async def test_a_request_that_waits_too_long_in_the_fast_lane_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.lane._TICKS", 1)
    monkeypatch.setattr("ingest.lane._TICK_SECONDS", 0.02)
    told: list[Answered] = []

    def submit(_records: Sequence[Record], answered: Answered) -> bool:
        told.append(answered)
        return True

    async with serving(tmp_path) as served:
        monkeypatch.setattr(served.app.lane, "_submit", submit)
        async with served.client() as client:
            assert code_of(await client.post("/v1/track", json=TRACK)) == (503, "log_unavailable")
        told[0]([None])
        assert served.door.counts.accepted == 0
        assert served.door.in_flight.bytes == 0
