"""What each event is told: duplicates and conflicts, what the log, the plan and the limits say; and when."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest.domain.plan import TrackingPlan
from ingest.domain.seen import Seen
from ingest.handlers import Policy
from ingest.native import PATH
from ingest.ports import Mode, Source
from schemas.records import Record, header, read_envelope
from schemas.topics import EVENTS, REJECTED
from services.event_catalog import load_catalog
from services.eventlog.port import LogUnavailable
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
from tests.integration.ingest.serving import TooLarge

DEFINITIONS = Path(__file__).parents[3] / "definitions"


async def test_a_repeated_event_is_a_duplicate_and_not_appended_again(native: NativeServed) -> None:
    receipt_of(await native.post(EVENT))
    again = receipt_of(await native.post([EVENT, other(id="43"), other(id="43")], BATCH))
    assert statuses(again) == [("duplicate", None), ("accepted", None), ("duplicate", None)]
    assert again["duplicates"] == 2
    assert len(await native.served.records(EVENTS)) == 2
    assert (native.native.duplicates, native.native.conflicts) == (2, 0)


async def test_another_content_under_an_id_is_told_and_the_first_one_stands(native: NativeServed) -> None:
    receipt_of(await native.post(EVENT))
    changed = [other(data={"revenue": 43}), other(type="Order Refunded"), other(id="44"), other(id="44", data=None)]
    receipt = receipt_of(await native.post(changed, BATCH))
    conflict = ("duplicate", "duplicate_id_conflict")
    assert statuses(receipt) == [conflict, conflict, ("accepted", None), conflict]
    assert [record.value for record in await native.served.records(EVENTS)] == [b'{"properties":{"revenue":42}}'] * 2
    assert native.native.conflicts == 3


async def test_the_same_id_from_another_producer_workspace_or_customer_is_another_event(
    native: NativeServed, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt_of(await native.post(EVENT))
    more = [other(source="https://shop.example/carts"), other(subject="bob")]
    assert receipt_of(await native.post(more, BATCH))["accepted"] == 2

    async def elsewhere(_: str) -> Source:
        return Source("elsewhere", "shop")

    monkeypatch.setattr(native.served.keys, "source", elsewhere)
    assert receipt_of(await native.post(EVENT))["accepted"] == 1
    assert {(each.workspace, each.subject, each.message_id) for each in await envelopes(native)} == {
        ("default", "user:ada", "https://shop.example/orders#42"),
        ("default", "user:ada", "https://shop.example/carts#42"),
        ("default", "user:bob", "https://shop.example/orders#42"),
        ("elsewhere", "user:ada", "https://shop.example/orders#42"),
    }


async def test_what_is_not_durable_yet_is_never_called_a_duplicate(native: NativeServed) -> None:
    switch = native.served.switch
    switch.open.clear()
    first = asyncio.create_task(native.post(EVENT))
    await switch.reached.wait()
    switch.reached.clear()
    second = asyncio.create_task(native.post(EVENT))
    await switch.reached.wait()
    switch.open.set()
    for answer in (await first, await second):
        assert statuses(receipt_of(answer)) == [("accepted", None)]
    assert {each.message_id for each in await envelopes(native)} == {"https://shop.example/orders#42"}


async def test_nothing_is_acknowledged_while_the_log_does_not_answer(native: NativeServed) -> None:
    native.served.switch.failures = [LogUnavailable("away")]
    assert problem_of(await native.post(EVENT)) == (503, "log_unavailable", [])
    assert statuses(receipt_of(await native.post(EVENT))) == [("accepted", None)]


async def test_an_answer_that_was_lost_is_made_up_for_by_the_retry(native: NativeServed) -> None:
    native.served.switch.answers_lost = 1
    assert problem_of(await native.post(EVENT))[1] == "log_unavailable"
    assert statuses(receipt_of(await native.post(EVENT))) == [("accepted", None)]
    ids = [each.message_id for each in await envelopes(native)]
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_what_the_log_finds_too_large_is_kept_apart_and_told(native: NativeServed) -> None:
    native.served.switch.too_large = {EVENTS}
    receipt = receipt_of(await native.post([EVENT, other(id="43", subject=None)], BATCH))
    assert statuses(receipt) == [("rejected", "record_too_large"), ("rejected", "no_identity")]
    native.served.switch.too_large = set()
    assert statuses(receipt_of(await native.post(EVENT))) == [("accepted", None)]
    native.served.switch.too_large = {EVENTS, REJECTED}
    assert problem_of(await native.post(other(id="44")))[:2] == (413, "body_too_large")


async def test_what_is_kept_apart_makes_no_later_event_a_duplicate(
    native: NativeServed, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = native.served.switch
    append = switch.append

    async def small(records: Sequence[Record]) -> Sequence[Exception | None]:
        large = [record.topic == EVENTS and len(record.value or b"") > 300 for record in records]
        stored = iter(await append([record for record, is_large in zip(records, large, strict=True) if not is_large]))
        return [TooLarge() if is_large else next(stored) for is_large in large]

    monkeypatch.setattr(switch, "append", small)
    large, larger = {"revenue": "4" * 400}, {"revenue": "4" * 500}
    events = [other(data=data) for data in (large, larger, larger, EVENT["data"], EVENT["data"], {"revenue": 43})]
    receipt = receipt_of(await native.post(events, BATCH))
    apart = ("rejected", "record_too_large")
    assert statuses(receipt) == [
        *(apart, apart, apart, ("accepted", None)),
        *(("duplicate", None), ("duplicate", "duplicate_id_conflict")),
    ]
    (record,) = await native.served.records(EVENTS)
    assert b'"revenue":42' in (record.value or b"").replace(b" ", b"")
    assert len(await native.served.records(REJECTED)) == 3
    assert (native.native.duplicates, native.native.conflicts) == (2, 1)
    assert statuses(receipt_of(await native.post(EVENT))) == [("duplicate", None)]


class Strict:
    """A plan that knows nothing."""

    def check(self, source: Source, name: str, event: Any, received_at: int) -> tuple[str, ...]:
        return ("unknown_event",)


async def test_the_tracking_plan_speaks_in_the_receipt(native: NativeServed) -> None:
    native.build(Policy(plan=Strict()))
    assert receipt_of(await native.post(EVENT))["events"][0]["flags"] == ["unknown_event"]
    (record,) = await native.served.records(EVENTS)
    assert read_envelope(record).flags == ("unknown_event",)


class Limited:
    """Limits that let nothing of a known source in."""

    def admit(self, source: Source | None, address: str, events: int) -> int | None:
        return 7 if source is not None else None


async def test_the_limits_hold_here_too(native: NativeServed) -> None:
    native.build(Policy(limits=Limited()))
    answer = await native.post(EVENT)
    assert problem_of(answer) == (429, "rate_limited", [])
    assert answer.headers["retry-after"] == "7"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


async def test_a_bug_is_one_logged_problem_with_the_id_of_its_request(
    native: NativeServed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(native.native, "accept", broken)
    with caplog.at_level(logging.ERROR):
        answer = await native.post(EVENT)
    assert problem_of(answer) == (500, "internal_error", [])
    (record,) = caplog.records
    assert record.__dict__["request_id"] == answer.json()["request_id"]


async def test_a_body_that_is_not_awaited_is_answered_and_the_connection_ends(native: NativeServed) -> None:
    head = b"POST /v1/events?writeKey=good HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    answer = await native.served.raw(head + b"Content-Length: 99999999\r\n\r\n", b"x" * 1_000)
    status, _, rest = answer.partition(b"\r\n")
    assert status == b"HTTP/1.1 413 Request Entity Too Large"
    assert b"connection: close" in rest.lower()


async def test_nothing_of_a_customer_a_key_or_a_body_is_logged(
    native: NativeServed, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "leaks-if-logged"
    with caplog.at_level(logging.DEBUG):
        for answer in (
            await native.post(other(subject=secret, data={"email": secret}), **{"Idempotency-Key": secret}),
            await native.post([other(type="$identify", data={"email": secret}), {secret: secret}], BATCH),
            await native.post({secret: secret}, Cookie=secret),
        ):
            assert answer.status_code in (202, 400)
        async with native.client() as client:
            refusal = await client.post(PATH, json=EVENT, auth=(secret, ""))
    assert refusal.status_code == 401
    assert caplog.records
    assert secret not in "".join(str(record.__dict__) for record in caplog.records if record.name.startswith("ingest"))


async def test_a_trace_is_carried_along(native: NativeServed) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    receipt_of(await native.post(EVENT, traceparent=trace))
    (record,) = await native.served.records(EVENTS)
    assert header(record.headers, "traceparent") == trace


async def test_the_first_event_is_told_of(native: NativeServed) -> None:
    receipt_of(await native.post([other(subject=None), EVENT], BATCH))
    assert [(first.name, first.subject) for first in native.served.first] == [("Order Completed", "user:ada")]


async def test_an_id_that_came_by_a_tracking_call_is_the_same_message_from_our_own_source(native: NativeServed) -> None:
    async with native.client() as client:
        await client.post("/v1/track", json={"userId": "ada", "event": "Signed In", "messageId": "m1"})
    receipt_of(await native.post(other(id="m1", source="/sources/shop", type="Signed In")))
    assert [each.message_id for each in await envelopes(native)] == ["m1", "m1"]


async def test_ten_thousand_events_get_their_receipts_in_order(native: NativeServed) -> None:
    events = [other(id=str(number), subject=f"u{number % 50}") for number in range(10_000)]
    async with native.client() as client:
        body = msgspec.json.encode(events)
        receipt = receipt_of(await client.post(PATH, content=body, headers={"content-type": BATCH}))
    assert [each["id"] for each in receipt["events"]] == [str(number) for number in range(10_000)]
    assert receipt["accepted"] == 10_000


def plan() -> TrackingPlan:
    catalog = load_catalog(DEFINITIONS)
    return TrackingPlan(catalog, Seen(frozenset(catalog.entries)))


@pytest.mark.parametrize("mode", ["open", "warn", "strict"])
async def test_a_source_is_told_what_breaks_the_plan_as_its_mode_wants(
    native: NativeServed, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    async def source(_: str) -> Source:
        return Source("default", "shop", mode)

    monkeypatch.setattr(native.served.keys, "source", source)
    native.build(Policy(plan=plan()))
    events = [
        other(id="1", data={"order_id": "o-1", "revenue": 42}),
        other(id="2", type="Nothing Known"),
        other(id="3", data={"order_id": "o-1", "revenue": []}),
        other(id="4", type="parcours.track", data={"event": "Order Completed", "properties": {"revenue": []}}),
    ]
    receipt = receipt_of(await native.post(events, BATCH))
    told = [(each["status"], each.get("code"), each.get("flags"), each.get("warnings"), each.get("pointer"))
            for each in receipt["events"]]  # fmt: skip
    unknown, invalid = ["unknown_event"], ["invalid_event"]
    assert told[0] == ("accepted", None, None, None, None)
    if mode == "strict":
        assert told[1] == ("rejected", "unknown_event", None, None, "/type")
        assert [each[4] for each in told[2:]] == ["/data/revenue", "/data/properties/revenue"]
        assert {each[:2] for each in told[2:]} == {("rejected", "invalid_event")}
    else:
        expected = [None, None] if mode == "open" else [unknown, invalid]
        assert told[1] == ("accepted", None, unknown, expected[0], None)
        assert told[2] == told[3] == ("accepted", None, invalid, expected[1], None)
