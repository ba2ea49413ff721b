"""The door on logs that fail for real: a full disk, a broker that stands still."""

import asyncio
from pathlib import Path

import httpx
import pytest

from ingest.handlers import Door
from ingest.http import DoorApp
from localservers import KafkaServer
from schemas.records import header
from schemas.topics import EVENTS, TOPICS
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.port import EventLog, TopicPartition
from tests.integration.ingest.serving import NOW, PARTITIONS, Keys

FILLER = "x" * 20_000


def client_of(log: EventLog) -> httpx.AsyncClient:
    """A client of a door on this log, without a socket between them."""

    async def nothing(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("not a route of the door")

    door = DoorApp(nothing, Door(log.writer(), Keys(), lambda: NOW, PARTITIONS))
    return httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://door", auth=("good", ""), timeout=30)


async def post(client: httpx.AsyncClient, number: int) -> int:
    event = {
        "userId": f"customer-{number}",
        "event": "Signed In",
        "messageId": f"m{number}",
        "properties": {"p": FILLER},
    }
    answer = await client.post("/v1/track", json=event)
    assert answer.json()["success"] is (answer.status_code == 200)
    return answer.status_code


async def post_until_stored(client: httpx.AsyncClient, number: int) -> None:
    """What every SDK does: send again as long as the answer is to come back later."""
    status = 503
    for _ in range(900):
        status = await post(client, number)
        if status != 503:
            break
        await asyncio.sleep(0.1)
    assert status == 200


async def ids(log: EventLog) -> list[str]:
    found = []
    for partition in range(PARTITIONS):
        for record in await log.read(TopicPartition(EVENTS, partition), 0, 100_000):
            found.append(str(header(record.headers, "ce_id")))
    return found


async def test_a_full_disk_loses_nothing_that_was_acknowledged_and_ends_when_space_returns(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = EmbeddedEventLog(path, lambda: NOW, max_bytes=2 * 1024 * 1024)
    await log.start()
    await log.create_topics(TOPICS, PARTITIONS)
    async with client_of(log) as client:
        statuses = [await post(client, number) for number in range(120)]
    assert set(statuses) == {200, 503}
    await log.close()
    log = EmbeddedEventLog(path, lambda: NOW)
    await log.start()
    await log.check_topics(TOPICS, PARTITIONS)
    acknowledged = {f"m{number}" for number, status in enumerate(statuses) if status == 200}
    assert acknowledged <= set(await ids(log))
    async with client_of(log) as client:
        assert [await post(client, number) for number in range(120)] == [200] * 120
    assert set(await ids(log)) == {f"m{number}" for number in range(120)}
    await log.close()


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_a_broker_that_stands_still_loses_nothing_that_was_acknowledged(
    own_kafka_server: KafkaServer, kafka_prefix: str
) -> None:
    log = KafkaEventLog(own_kafka_server.bootstrap_servers, lambda: NOW, kafka_prefix)
    await log.start()
    await log.create_topics(TOPICS, PARTITIONS)
    async with client_of(log) as client:
        await post_until_stored(client, 0)
        assert await asyncio.gather(*(post(client, number) for number in range(20))) == [200] * 20
        own_kafka_server.pause()
        try:
            assert await asyncio.gather(*(post(client, number) for number in range(20, 40))) == [503] * 20
        finally:
            own_kafka_server.resume()
        await post_until_stored(client, 40)
        assert await asyncio.gather(*(post(client, number) for number in range(20, 40))) == [200] * 20
    assert {f"m{number}" for number in range(41)} == set(await ids(log))
    await log.close()
