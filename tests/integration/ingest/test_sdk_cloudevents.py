"""The CloudEvents SDKs for Python and Node, unmodified, against POST /v1/events on a real socket."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from schemas.records import header, read_envelope
from schemas.times import parse_instant
from schemas.topics import EVENTS, REJECTED
from services.eventlog.port import LogUnavailable
from services.runtime.clock import SystemClock
from tests.integration.ingest.native_serving import NativeServed, native_serving
from tests.support.node import drive
from tests.support.sdk_calls import MOMENT, VALUES

pytestmark = pytest.mark.timeout(180)

SOURCE: Final = "https://shop.example/orders"
NUMBERS: Final = range(5)


@pytest.fixture
async def native(tmp_path: Path) -> AsyncIterator[NativeServed]:
    """A running door with the native route, by the clock of this machine."""
    async with native_serving(tmp_path) as found:
        found.served.now = SystemClock().now()
        yield found


def attributes(number: int) -> dict[str, Any]:
    """What the event of this number says of itself, as both SDKs take it."""
    return {"id": f"e{number}", "source": SOURCE, "type": "Order Completed", "subject": "ada", "time": MOMENT}


def data(number: int) -> Mapping[str, Any]:
    """Its data."""
    return {**VALUES, "n": number}


async def assert_on_the_topic(native: NativeServed) -> None:
    """Each event stands there once, under its own id and source, its data unchanged."""
    records = await native.served.records(EVENTS)
    assert [header(record.headers, "ce_id") for record in records] == [f"e{number}" for number in NUMBERS]
    for number, record in zip(NUMBERS, records, strict=True):
        envelope = read_envelope(record)
        assert (envelope.subject, envelope.name) == ("user:ada", "Order Completed")
        assert (header(record.headers, "ce_source"), envelope.occurred_at) == (SOURCE, parse_instant(MOMENT))
        properties = json.loads(record.value or b"")["properties"]
        assert json.dumps(properties, sort_keys=True) == json.dumps(data(number), sort_keys=True)
    assert await native.served.records(REJECTED) == []


@pytest.mark.parametrize("write", [to_binary, to_structured], ids=["binary", "structured"])
async def test_every_event_of_the_sdk_for_python_stands_on_the_topic_once_and_unchanged(
    native: NativeServed, write: Callable[[CloudEvent, JSONFormat], HTTPMessage]
) -> None:
    async with native.client() as client:
        for number in NUMBERS:
            given = {
                **attributes(number),
                "time": datetime.fromisoformat(MOMENT),
                "datacontenttype": "application/json",
            }
            message = write(CloudEvent(given, dict(data(number))), JSONFormat())
            answer = await client.post("/v1/events", headers=message.headers, content=message.body)
            assert (answer.status_code, answer.json()["events"]) == (
                202,
                [{"index": 0, "id": f"e{number}", "status": "accepted"}],
            )
    await assert_on_the_topic(native)


@pytest.mark.parametrize("mode", ["BINARY", "STRUCTURED"])
async def test_every_event_of_the_sdk_for_node_stands_on_the_topic_once_and_unchanged(
    native: NativeServed, node_clients: Path, mode: str
) -> None:
    calls = [{**attributes(number), "data": data(number)} for number in NUMBERS]
    scenario = {"host": native.served.url, "writeKey": "good", "options": {"mode": mode}, "calls": [*calls, *calls]}
    told = await drive(node_clients, "cloudevents.mjs", scenario)
    statuses = [answer["events"][0]["status"] for answer in told["answers"]]
    assert statuses == ["accepted"] * len(NUMBERS) + ["duplicate"] * len(NUMBERS)
    await assert_on_the_topic(native)


async def test_the_sdk_for_node_hands_a_refusal_on_for_its_caller_to_read(
    native: NativeServed, node_clients: Path
) -> None:
    native.served.switch.failures = [LogUnavailable()]
    call = {**attributes(1), "data": data(1)}
    scenario = {"host": native.served.url, "writeKey": "good", "options": {"mode": "BINARY"}, "calls": [call, call]}
    refused, accepted = (await drive(node_clients, "cloudevents.mjs", scenario))["answers"]
    assert (refused["status"], refused["code"]) == (503, "log_unavailable")
    assert accepted["accepted"] == 1
    assert len(await native.served.records(EVENTS)) == 1
