"""A real tracking SDK, unmodified, against the door on a real socket."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from segment.analytics.client import Client

from schemas.records import header, read_envelope
from schemas.times import parse_instant
from schemas.topics import EVENTS, REJECTED, ROUTED
from services.eventlog.port import LogUnavailable
from tests.integration.ingest.serving import Served

MOMENT = datetime(2026, 11, 3, 9, 30, 0, 123000, UTC)


async def send(served: Served, use: Callable[[Client], Any], **options: Any) -> list[Exception]:
    """Use an SDK client in a thread, wait until it has delivered or given up; return the errors it told of."""
    errors: list[Exception] = []

    def work() -> None:
        client = Client(
            "good", host=served.url, on_error=lambda error, _: errors.append(error), max_queue_size=20_000, **options
        )
        use(client)
        client.shutdown()

    await asyncio.to_thread(work)
    return errors


@pytest.mark.parametrize("gzip", [False, True])
async def test_every_call_of_the_sdk_arrives(served: Served, gzip: bool) -> None:
    def use(client: Client) -> None:
        client.identify("ada", {"email": "ada@example.com"}, timestamp=MOMENT)
        client.track("ada", "Order Completed", {"revenue": 42}, timestamp=MOMENT, message_id="m1")
        client.track(None, "Signed In", anonymous_id="7f", timestamp=MOMENT)
        client.page("ada", "docs", "Start", timestamp=MOMENT)
        client.screen("ada", "app", "Home", timestamp=MOMENT)
        client.group("ada", "acme", {"seats": 3}, timestamp=MOMENT)
        client.alias("7f", "ada", timestamp=MOMENT)
        client.track(17, "Signed In", context={"groupId": "acme"}, timestamp=MOMENT)

    assert await send(served, use, gzip=gzip) == []
    envelopes = [read_envelope(record) for record in await served.records(EVENTS)]
    assert sorted((found.subject, found.name) for found in envelopes) == [
        ("anon:7f", "Signed In"),
        ("user:17", "Signed In"),
        ("user:ada", "$alias"),
        ("user:ada", "$group"),
        ("user:ada", "$identify"),
        ("user:ada", "Order Completed"),
        ("user:ada", "Page Viewed"),
        ("user:ada", "Screen Viewed"),
    ]
    assert {found.occurred_at for found in envelopes} == {parse_instant("2026-11-03T09:30:00.123Z")}
    copies = [read_envelope(record) for record in await served.records(ROUTED)]
    assert {found.subject for found in copies} == {"account:acme"}
    assert {found.message_id for found in copies} <= {found.message_id for found in envelopes}
    assert await served.records(REJECTED) == []
    assert served.first[0].library == "analytics-python"
    assert served.first[0].version


async def test_the_bytes_on_the_topic_are_the_sdks_own(served: Served) -> None:
    await send(served, lambda client: client.track("ada", "Order Completed", {"revenue": 42.50}, message_id="m1"))
    (record,) = await served.records(EVENTS)
    assert record.value is not None
    event = json.loads(record.value)
    assert (event["messageId"], event["properties"], event["anonymousId"]) == ("m1", {"revenue": 42.5}, None)
    assert header(record.headers, "ce_id") == "m1"
    assert b'"revenue": 42.5' in record.value


async def test_thousands_of_events_arrive_each_once_and_in_order(served: Served) -> None:
    def use(client: Client) -> None:
        for number in range(3_000):
            client.track(f"customer-{number % 7}", "Feature Used", {"n": number}, message_id=f"m{number}")

    assert await send(served, use) == []
    records = await served.records(EVENTS)
    assert len(records) == 3_000
    seen: dict[str, list[int]] = {}
    for record in records:
        event = json.loads(record.value or b"")
        seen.setdefault(event["userId"], []).append(event["properties"]["n"])
    assert len(seen) == 7
    assert all(numbers == sorted(set(numbers)) for numbers in seen.values())


async def test_the_sdk_sends_again_until_the_log_is_back(served: Served) -> None:
    served.switch.failures = [LogUnavailable()]
    assert await send(served, lambda client: client.track("ada", "Signed In", message_id="m1")) == []
    assert served.switch.appends == 2
    (record,) = await served.records(EVENTS)
    assert header(record.headers, "ce_id") == "m1"


async def test_a_lost_answer_repeats_the_event_under_the_same_id(served: Served) -> None:
    served.switch.answers_lost = 1
    assert await send(served, lambda client: client.track("ada", "Signed In")) == []
    first, second = await served.records(EVENTS)
    assert (first.key, first.value) == (second.key, second.value)
    assert header(first.headers, "ce_id") == header(second.headers, "ce_id")


async def test_a_wrong_key_is_told_and_not_tried_again(served: Served) -> None:
    def work() -> list[Exception]:
        errors: list[Exception] = []
        client = Client("bad", host=served.url, on_error=lambda error, _: errors.append(error))
        client.track("ada", "Signed In")
        client.shutdown()
        return errors

    (error,) = await asyncio.to_thread(work)
    assert "unknown_write_key" in str(error)
    assert served.door.counts.refused == {"unknown_write_key": 1}
