"""The tracking SDKs for Node, unmodified, against the door on a real socket."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import EVENTS, REJECTED, ROUTED
from services.eventlog.port import LogUnavailable
from services.runtime.clock import SystemClock
from tests.integration.ingest.serving import Served
from tests.support.node import drive
from tests.support.sdk_calls import CALLS, MOMENT, arrived, assert_all_arrived, assert_unchanged, burst

pytestmark = pytest.mark.timeout(180)

SDKS = ("segment_node.mjs", "rudder_node.mjs")
both = pytest.mark.parametrize("sdk", SDKS)


async def send(
    clients: Path, sdk: str, served: Served, calls: Sequence[Mapping[str, Any]], key: str = "good", **options: Any
) -> dict[str, Any]:
    """Give an SDK these calls; how many it delivered, and the errors that it told of."""
    served.now = SystemClock().now()
    scenario = {"host": served.url, "writeKey": key, "options": options, "calls": calls}
    return await drive(clients, sdk, scenario)


@both
async def test_every_call_stands_on_the_topic_once_and_unchanged(served: Served, node_clients: Path, sdk: str) -> None:
    calls = [{**call, "timestamp": MOMENT} for call in CALLS]
    assert await send(node_clients, sdk, served, calls) == {"delivered": len(calls), "errors": []}
    assert_all_arrived(calls, await served.records(EVENTS), await served.records(ROUTED))
    assert await served.records(REJECTED) == []


@both
async def test_two_thousand_events_arrive_each_once(served: Served, node_clients: Path, sdk: str) -> None:
    calls = burst(2_000)
    told = await send(node_clients, sdk, served, calls, flushAt=100, maxInternalQueueSize=5_000)
    assert told == {"delivered": 2_000, "errors": []}
    found = arrived(await served.records(EVENTS))
    assert len(found) == 2_000
    for call in calls:
        assert_unchanged(call, found[call["messageId"]])


@both
async def test_the_sdk_sends_again_until_the_log_is_back(served: Served, node_clients: Path, sdk: str) -> None:
    served.switch.failures = [LogUnavailable()]
    assert await send(node_clients, sdk, served, burst(5)) == {"delivered": 5, "errors": []}
    assert set(arrived(await served.records(EVENTS))) == {f"n{number}" for number in range(5)}


@both
async def test_a_lost_answer_repeats_events_under_the_same_ids(served: Served, node_clients: Path, sdk: str) -> None:
    served.switch.answers_lost = 1
    assert await send(node_clients, sdk, served, burst(5)) == {"delivered": 5, "errors": []}
    records = await served.records(EVENTS)
    assert len(records) > 5
    assert set(arrived(records, repeated=True)) == {f"n{number}" for number in range(5)}


@both
async def test_a_wrong_key_is_told_and_not_tried_again(served: Served, node_clients: Path, sdk: str) -> None:
    told = await send(node_clients, sdk, served, burst(1), key="bad")
    assert told["delivered"] == 0
    assert len(told["errors"]) == 1
    assert "401" in told["errors"][0] or "Unauthorized" in told["errors"][0]
    assert served.door.counts.refused == {"unknown_write_key": 1}
    assert await served.records(EVENTS) == []
