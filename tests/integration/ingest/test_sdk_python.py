"""The tracking SDKs for Python, Segment's and RudderStack's, unmodified, against the door on a real socket."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import pytest
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient

from schemas.topics import EVENTS, REJECTED, ROUTED
from services.eventlog.port import LogUnavailable
from services.runtime.clock import SystemClock
from tests.integration.ingest.serving import Served
from tests.support.sdk_calls import CALLS, MOMENT, arrived, assert_all_arrived, assert_unchanged, burst

Maker = Callable[..., Any]

SDKS: Final[Mapping[str, Maker]] = {
    "segment": SegmentClient,
    "segment-gzip": partial(SegmentClient, gzip=True),
    "rudder": RudderClient,
    "rudder-plain": partial(RudderClient, gzip=False),
}
ARGUMENTS: Final = {
    "messageId": "message_id",
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "groupId": "group_id",
    "previousId": "previous_id",
}
every_sdk = pytest.mark.parametrize("make", SDKS.values(), ids=SDKS.keys())


def call_sdk(client: Any, call: Mapping[str, Any]) -> None:
    """Make one call as a product would, with arguments instead of a message."""
    given = {ARGUMENTS.get(name, name): value for name, value in call.items()}
    if "timestamp" in given:
        given["timestamp"] = datetime.fromisoformat(given["timestamp"])
    getattr(client, given.pop("type"))(**given)


async def send(served: Served, make: Maker, calls: Sequence[Mapping[str, Any]], key: str = "good") -> list[Exception]:
    """Give an SDK these calls and wait until it has delivered or given up; the errors that it told of."""
    errors: list[Exception] = []
    served.now = SystemClock().now()

    def work() -> None:
        client = make(key, host=served.url, on_error=lambda error, _: errors.append(error), timeout=30)
        for call in calls:
            call_sdk(client, call)
        client.shutdown()

    await asyncio.to_thread(work)
    return errors


@every_sdk
async def test_every_call_stands_on_the_topic_once_and_unchanged(served: Served, make: Maker) -> None:
    calls = [{**call, "timestamp": MOMENT} for call in CALLS]
    assert await send(served, make, calls) == []
    assert_all_arrived(calls, await served.records(EVENTS), await served.records(ROUTED))
    assert await served.records(REJECTED) == []


@every_sdk
async def test_two_thousand_events_arrive_each_once(served: Served, make: Maker) -> None:
    calls = burst(2_000)
    assert await send(served, make, calls) == []
    found = arrived(await served.records(EVENTS))
    assert len(found) == 2_000
    for call in calls:
        assert_unchanged(call, found[call["messageId"]])


@every_sdk
async def test_the_sdk_sends_again_until_the_log_is_back(served: Served, make: Maker) -> None:
    served.switch.failures = [LogUnavailable()]
    assert await send(served, make, burst(5)) == []
    assert set(arrived(await served.records(EVENTS))) == {f"n{number}" for number in range(5)}


@every_sdk
async def test_a_lost_answer_repeats_events_under_the_same_ids(served: Served, make: Maker) -> None:
    served.switch.answers_lost = 1
    assert await send(served, make, burst(5)) == []
    records = await served.records(EVENTS)
    assert len(records) > 5
    assert set(arrived(records, repeated=True)) == {f"n{number}" for number in range(5)}


@every_sdk
async def test_a_wrong_key_is_told_and_not_tried_again(served: Served, make: Maker) -> None:
    (error,) = await send(served, make, burst(1), key="bad")
    assert "unknown_write_key" in str(error)
    assert served.door.counts.refused == {"unknown_write_key": 1}
    assert await served.records(EVENTS) == []
