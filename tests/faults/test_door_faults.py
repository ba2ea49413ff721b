"""The door while its broker is killed and frozen, and while it is killed itself: what it acknowledged is on the log."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localservers import KafkaServer
from schemas.records import header
from schemas.topics import EVENTS
from tests.faults.door_load import ALLOWED, DoorLoad
from tests.faults.guarantees import guarantee
from tests.faults.options import OPTIONS
from tests.support.services import watch_over
from tests.support.system import WRITE_KEY, Cluster, System, Tuning

LONGEST_WAIT_SECONDS = 3.0
WITH_RETRY_AFTER = {429, 503}
SECONDS_FOR_EACH = 15
"""A slow machine's; only the time limit of the tests follows from it."""

_ACTS = OPTIONS.door_kills + OPTIONS.broker_kills + OPTIONS.broker_pauses
pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(180 + SECONDS_FOR_EACH * _ACTS)]


@pytest.mark.kafka
def test_the_door_answers_in_time_and_truly_whatever_becomes_of_the_broker(
    own_kafka_server: KafkaServer, fresh_database: Callable[[], str], tmp_path: Path, report: list[str]
) -> None:
    dice = random.Random(f"broker {OPTIONS.seed}")
    acts = ["kill"] * OPTIONS.broker_kills + ["pause"] * OPTIONS.broker_pauses
    dice.shuffle(acts)
    system = _cluster(own_kafka_server, fresh_database(), tmp_path, "broker")
    try:
        load = _loaded(system)
        for act in acts:
            load.wait_for_progress()
            time.sleep(dice.uniform(0.0, 0.5))
            if act == "kill":
                own_kafka_server.kill()
                time.sleep(dice.uniform(0.1, LONGEST_WAIT_SECONDS))
                own_kafka_server.start()
            else:
                own_kafka_server.pause()
                time.sleep(LONGEST_WAIT_SECONDS + dice.uniform(0.2, 2.0))
                own_kafka_server.resume()
        load.wait_for_progress()
        load.finish()
        with guarantee("the door itself stays up, and every request is answered"):
            assert (load.refused, load.cut, system.door.ended_by_itself()) == (0, 0, None)
        with guarantee("what cannot be stored is refused at some time"):
            assert load.statuses[503] > 0
        _check(system, load)
        what = f"{OPTIONS.broker_kills} kills and {OPTIONS.broker_pauses} pauses of Apache Kafka"
        report[:] = [_told(what, load)]
    finally:
        system.discard()


@pytest.mark.kafka
def test_what_a_killed_door_acknowledged_is_on_the_log_of_the_cluster_shape(
    own_kafka_server: KafkaServer, fresh_database: Callable[[], str], tmp_path: Path, report: list[str]
) -> None:
    system = _cluster(own_kafka_server, fresh_database(), tmp_path, "door")
    try:
        report[:] = [_kill_the_door(system, "parcours ingest")]
    finally:
        system.discard()


def test_what_a_killed_door_acknowledged_is_on_the_log_of_the_embedded_shape(tmp_path: Path, report: list[str]) -> None:
    with System(tmp_path, Tuning()) as system:
        report[:] = [_kill_the_door(system, "parcours run")]


def _kill_the_door(system: System, command: str) -> str:
    """Kill the door at random moments under load, and hold it to its answers; returns what to say of it."""
    dice = random.Random(f"door {command} {OPTIONS.seed}")
    load = _loaded(system)
    for _ in range(OPTIONS.door_kills):
        load.wait_for_progress()
        time.sleep(dice.uniform(0.0, 0.5))
        system.door.kill()
        system.door.start()
    load.wait_for_progress()
    load.finish()
    with guarantee("the load was there when the door was killed"):
        assert load.cut > 0
    _check(system, load)
    return _told(f"{OPTIONS.door_kills} kills of `{command}`", load)


def _cluster(kafka: KafkaServer, database_url: str, folder: Path, name: str) -> System:
    """A system of which only the door runs."""
    system = System(folder, Tuning(), Cluster(database_url, kafka.bootstrap_servers, f"door-faults-{name}-"))
    watch_over(folder)
    system.command("migrate")
    system.door.start()
    return system


def _loaded(system: System) -> DoorLoad:
    system.door.wait_ready()
    load = DoorLoad(system.door.port, WRITE_KEY)
    load.start()
    return load


def _check(system: System, load: DoorLoad) -> None:
    stored = {str(header(record.headers, "ce_id")) for record in system.records(EVENTS)}
    acknowledged = {each for answer in load.answers if answer.status == 200 for each in answer.ids}
    with guarantee("what was acknowledged is on the log"):
        assert acknowledged - stored == set()
    with guarantee("nothing is on the log that was not sent"):
        assert stored - load.sent == set()
    with guarantee("there is no other answer than stored, wait, and not now"):
        assert load.statuses.keys() - ALLOWED == set(), load.statuses
    with guarantee("whoever has to come back is told when"):
        told = {answer.retry_after for answer in load.answers if answer.status in WITH_RETRY_AFTER}
        assert all(after is not None and after.isdigit() and int(after) > 0 for after in told), told
    with guarantee("no request waits longer than three seconds"):
        longest = sorted((answer.seconds, answer.status) for answer in load.answers)[-5:]
        assert longest[-1][0] <= LONGEST_WAIT_SECONDS, longest


def _told(what: str, load: DoorLoad) -> str:
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(load.statuses.items()))
    longest = max(answer.seconds for answer in load.answers)
    return (
        f"door under {what}, seed {OPTIONS.seed}: {answers}; longest wait {longest:.2f} s;"
        f" {load.cut} connections cut, {load.refused} refused; every acknowledged event is on the log"
    )
