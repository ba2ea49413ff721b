"""SIGTERM under load: whatever was answered is on the log, everything else was told so or cut cleanly."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from localservers.processes import LOOPBACK
from schemas.topics import EVENTS
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.port import EventLog, TopicPartition
from tests.support.servers import KafkaAddress
from tests.support.services import CHECKOUT, Service

CONNECTIONS = 32
DRAIN_SECONDS = 5.0
PARTITIONS = 4
ENOUGH = 2_000
_HEAD = (
    f"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {b64encode(b'wk:').decode()}\r\nContent-Length: %d\r\n\r\n"
)


class Load:
    """Connections that send one event, or a batch, after the other, and remember what was answered with 200."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: set[str] = set()
        self.statuses: set[int] = set()
        self.broken: list[bytes] = []
        self.closing = 0
        self.under_way = asyncio.Event()

    async def connection(self, number: int) -> None:
        """Until the server closes it."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        for turn in range(1_000_000):
            ids = [f"{number}-{turn}-{place}" for place in range(1 if number % 2 else 20)]
            head = b""
            try:
                writer.write(self._request(ids))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                answer = await reader.readexactly(length)
            except asyncio.IncompleteReadError as error:
                if head or error.partial:
                    self.broken.append(head + error.partial)
                break
            except ConnectionError:
                break
            self.statuses.add(int(head[9:12]))
            if head.startswith(b"HTTP/1.1 200") and answer == b'{"success": true}':
                self.acknowledged.update(ids)
                if len(self.acknowledged) > ENOUGH:
                    self.under_way.set()
            if b"connection: close" in head.lower():
                self.closing += 1
                break
        writer.close()

    @staticmethod
    def _request(ids: list[str]) -> bytes:
        events = [{"type": "track", "userId": found, "event": "Signed In", "messageId": found} for found in ids]
        body = json.dumps(events[0] if len(ids) == 1 else {"batch": events}).encode()
        return (_HEAD % ("/v1/track" if len(ids) == 1 else "/v1/batch", len(body))).encode() + body


async def on_log(log: EventLog) -> set[str]:
    """The ids of all events on the log."""
    await log.start()
    found: set[str] = set()
    try:
        for partition in range(PARTITIONS):
            position = TopicPartition(EVENTS, partition)
            offset, end = await log.bounds(position)
            while offset < end:
                records = await log.read(position, offset, 5_000)
                found.update(dict(record.headers)["ce_id"].decode() for record in records)
                offset = records[-1].offset + 1
    finally:
        await log.close()
    return found


def settings_of(folder: Path) -> dict[str, str]:
    return {
        "PARCOURS_DATA_DIR": str(folder / "data"),
        "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions"),
        "PARCOURS_WRITE_KEY": "wk",
        "PARCOURS_API_TOKEN": "pt",
        "PARCOURS_PARTITIONS": str(PARTITIONS),
    }


async def drained_under_load(services: list[Service], log: EventLog) -> Load:
    """Load the services, end them one after the other, and compare."""
    load = Load(services[0].port)
    connections = [asyncio.create_task(load.connection(number)) for number in range(CONNECTIONS)]
    await load.under_way.wait()
    for service in services:
        began = time.monotonic()
        await asyncio.to_thread(service.drain)
        assert time.monotonic() - began < DRAIN_SECONDS
    await asyncio.gather(*connections)
    assert load.broken == []
    assert load.statuses == {200}
    assert load.closing > 0
    assert load.acknowledged <= await on_log(log)
    return load


def says_where_it_is(service: Service) -> None:
    """Wait until a process prints its address. To ask the shared port would be to ask either of them."""
    while f":{service.port}" not in service.log_path.read_text():
        assert service.running, service.tail()
        time.sleep(0.05)


def end_of(service: Service) -> int:
    """Wait for a process to end by itself; its exit code."""
    while (code := service.ended_by_itself()) is None:
        time.sleep(0.05)
    return code


@pytest.mark.timeout(120)
async def test_a_process_that_is_told_to_stop_under_load_answers_what_it_took(tmp_path: Path) -> None:
    service = Service("run", ["run"], settings_of(tmp_path), tmp_path)
    try:
        service.start()
        await asyncio.to_thread(service.wait_ready)
        await drained_under_load([service], EmbeddedEventLog(tmp_path / "data" / "log.db", lambda: 0))
    finally:
        service.discard()


@pytest.mark.timeout(120)
async def test_two_workers_share_a_port_and_lose_nothing_when_they_end(
    kafka_server: KafkaAddress, kafka_prefix: str, fresh_database: Callable[[], str], tmp_path: Path
) -> None:
    cluster: Mapping[str, str] = {
        **settings_of(tmp_path),
        "DATABASE_URL": fresh_database(),
        "KAFKA_BOOTSTRAP_SERVERS": kafka_server.bootstrap_servers,
        "PARCOURS_TOPIC_PREFIX": kafka_prefix,
        "PARCOURS_SHARE_PORT": "true",
    }
    migration = Service("migrate", ["migrate"], cluster, tmp_path)
    migration.start()
    assert await asyncio.to_thread(end_of, migration) == 0, migration.tail()
    first = Service("first", ["ingest"], cluster, tmp_path)
    second = Service("second", ["ingest"], {**cluster, "PARCOURS_PORT": str(first.port)}, tmp_path)
    second.port = first.port
    try:
        for service in (first, second):
            service.start()
            await asyncio.to_thread(says_where_it_is, service)
        await drained_under_load(
            [first, second], KafkaEventLog(kafka_server.bootstrap_servers, lambda: 0, kafka_prefix)
        )
    finally:
        migration.discard()
        first.discard()
        second.discard()
