"""The whole system when a disk is full, and when somebody puts garbage on a topic."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from schemas.ids import partition_of, record_key
from schemas.records import Record, StoredRecord, cloud_event_headers, header
from schemas.times import format_instant
from schemas.topics import EVENTS, REJECTED, STAGE_CHANGES
from services.eventlog.port import EventLog
from services.runtime.clock import SystemClock
from tests.support.clusters import room
from tests.support.population import populate
from tests.support.poster import Door, batched
from tests.support.servers import KafkaAddress, PostgresAddress
from tests.support.system import WRITE_KEY, System, Tuning

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(180)]

MEGABYTE = 1_048_576
DISK = 256 * MEGABYTE
LEFT = 3 * MEGABYTE
BATCH = 100
NOW = SystemClock().now()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own with little room. Skips where nobody may mount one; with CI=true that is a failure."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        reason = f"A small file system cannot be mounted here: {mounted.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_answered_with_503_loses_nothing_acknowledged_and_ends_when_space_returns(
    tmp_path: Path,
) -> None:
    population = populate(3, 400, NOW)
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk"))
        system = stack.enter_context(System(disk, Tuning()))
        ballast = disk / "ballast"
        free = int(subprocess.check_output(["stat", "-f", "-c", "%a", str(disk)])) * 4096
        ballast.write_bytes(bytes(max(0, free - LEFT)))
        door = stack.enter_context(closing(Door(system.door.port, WRITE_KEY)))
        acknowledged: set[str] = set()
        refusals = 0
        bodies = list(batched(population.lines, BATCH))
        for number, body in enumerate(bodies):
            answer = door.post(body)
            assert answer.status in (200, 503), answer
            if answer.status == 200:
                acknowledged.update(population.ids[number * BATCH : (number + 1) * BATCH])
            else:
                refusals += 1
                assert json.loads(answer.body)["code"] == "log_unavailable"
                if refusals == 3:
                    break
        assert refusals == 3, "the disk never was full"
        ballast.unlink()
        system.settle()
        assert acknowledged
        assert acknowledged <= {id_ for ids in system.state.activity().values() for id_ in ids}
        for body in bodies:
            door.deliver(body)
        system.settle()
        assert system.state.activity() == population.stored
        system.drain()


def _poison(customer: str, value: bytes, *, whole: bool) -> Record:
    """A record for a customer's partition: `whole` says whether its headers are those of an event."""
    subject = f"user:{customer}"
    key = record_key("default", subject)
    headers = cloud_event_headers(f"poison-{customer}", "Order Completed", "/sources/elsewhere", NOW, subject)
    return Record(EVENTS, partition_of(key, 4), key, value, headers if whole else headers[:2], NOW)


async def _append(log: EventLog, records: list[Record]) -> None:
    writer = log.writer()
    assert await writer.append(records) == [None] * len(records)
    await writer.close()


def _check_poison(system: System) -> None:
    poison = [
        _poison("ada", b'{"userId": "ada", "properties": {"revenue": ', whole=True),
        _poison("bob", b"\x00\xff\xfe", whole=True),
        _poison("cem", b'{"userId": "cem", "event": "Order Completed"}', whole=False),
    ]
    system.with_log(lambda log: _append(log, poison))
    at = format_instant(NOW)
    events = [
        {"type": "track", "userId": record.key.decode().partition(":")[2], "event": "Order Completed", "timestamp": at}
        for record in poison
        if record.key is not None
    ]
    system.post(list(batched(json.dumps(event).encode() for event in events)))
    system.settle()
    rejected = {record.value: record for record in system.records(REJECTED)}
    assert set(rejected) == {record.value for record in poison}
    for record in poison:
        found: StoredRecord = rejected[record.value]
        assert header(found.headers, "ce_type") == "parcours.event.rejected"
        assert header(found.headers, "ce_reason")
        assert str(header(found.headers, "ce_place")).startswith(f"{EVENTS}/{record.partition}@")
        assert header(found.headers, "orig_ce_id") == header(record.headers, "ce_id")
    changes = [record for record in system.records(STAGE_CHANGES) if b'"to":"adoption"' in (record.value or b"")]
    assert {record.key for record in changes} == {record.key for record in poison}, "the partition goes on"
    system.drain()


def test_poison_on_a_topic_is_set_aside_with_bytes_and_reason_on_the_embedded_log(tmp_path: Path) -> None:
    with System(tmp_path, Tuning()) as system:
        _check_poison(system)


def test_poison_on_a_topic_is_set_aside_with_bytes_and_reason_on_kafka(
    kafka_server: KafkaAddress, postgres_server: PostgresAddress, tmp_path: Path
) -> None:
    with room(kafka_server, postgres_server) as cluster, System(tmp_path, Tuning(), cluster) as system:
        _check_poison(system)
