"""Processes are killed and frozen while a population flows: nothing accepted is lost, nothing is done twice."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from behavior import compile_definition
from localservers import KafkaServer
from schemas.language import load_definition
from schemas.topics import REJECTED
from tests.faults.acts import Chaos
from tests.faults.conftest import Undisturbed
from tests.faults.flow import Flow
from tests.faults.guarantees import guarantee
from tests.faults.options import OPTIONS
from tests.support.mail_sink import MailSink
from tests.support.population import FRESH_PREFIX
from tests.support.services import CHECKOUT
from tests.support.states import Activity, StoredState, differing
from tests.support.system import WRITE_KEY, Cluster, System, Tuning

SETTLED_WITHIN_SECONDS = 120.0
SEGMENTS = CHECKOUT / "definitions" / "segments" / "segments.yaml"
KILLS_PER_MINUTE = 6
"""A slow machine's; only the time limit of the tests follows from it."""

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240 + 60 * OPTIONS.kills // KILLS_PER_MINUTE)]


def test_embedded_shape_loses_nothing_and_repeats_nothing_whatever_is_killed(
    undisturbed: Undisturbed, definitions: Path, tmp_path: Path, report: list[str]
) -> None:
    with MailSink() as mail:
        tuning = Tuning(definitions=definitions, settings={"PARCOURS_SMTP_URL": mail.url})
        with System(tmp_path, tuning) as system:
            flow = Flow(system.door.port, WRITE_KEY, undisturbed.population, seconds=30 + 3.0 * OPTIONS.kills)
            chaos = Chaos(system, OPTIONS.seed, mail, flow)
            flow.start()
            chaos.breathe()
            chaos.kill_while_the_log_cannot_write()
            chaos.kill_while_a_mail_is_on_its_way(system.door)
            chaos.kill_at_random(OPTIONS.kills - chaos.killed)
            _check("embedded", chaos, undisturbed, report)


@pytest.mark.kafka
def test_cluster_shape_loses_nothing_and_repeats_nothing_whatever_is_killed_or_frozen(
    undisturbed: Undisturbed,
    definitions: Path,
    tmp_path: Path,
    report: list[str],
    own_kafka_server: KafkaServer,
    fresh_database: Callable[[], str],
) -> None:
    cluster = Cluster(fresh_database(), own_kafka_server.bootstrap_servers, f"kill{OPTIONS.seed}-")
    with MailSink() as mail:
        tuning = Tuning(workers=2, definitions=definitions, settings={"PARCOURS_SMTP_URL": mail.url})
        with System(tmp_path, tuning, cluster) as system:
            flow = Flow(system.door.port, WRITE_KEY, undisturbed.population, seconds=120 + 4.0 * OPTIONS.kills)
            chaos = Chaos(system, OPTIONS.seed, mail, flow, own_kafka_server, cluster.database_url)
            chaos.watch_positions()
            flow.start()
            chaos.breathe()
            chaos.kill_the_door_while_the_broker_is_silent()
            chaos.wake_a_zombie_with_full_queues()
            chaos.kill_around_the_outbox()
            chaos.freeze_for_longer_than_a_session(system.services["stage-engine-1"])
            chaos.kill_at_random(OPTIONS.kills - chaos.killed)
            _check("cluster", chaos, undisturbed, report)
            with guarantee("only the owner of a partition moves its position, and only forwards"):
                assert chaos.positions_gone_back() == []


def _check(shape: str, chaos: Chaos, undisturbed: Undisturbed, report: list[str]) -> None:
    """Let everything come to rest, and hold it to every guarantee."""
    system, flow, population = chaos.system, chaos.flow, undisturbed.population
    assert flow.flowing, "the population was through before the last kill"
    assert chaos.spared() == set(), "nobody killed them"
    with guarantee("it accepts events again, and comes to rest"):
        flow.finish()
        chaos.wait_thawed()
        chaos.all_ready()
        settled = system.settle(SETTLED_WITHIN_SECONDS)
    with guarantee("nothing acknowledged is lost, nothing is stored that was not sent"):
        assert flow.acknowledged == set(population.ids)
        stored = system.state.activity()
        assert _without(population.stored, stored) == set(), "lost"
        assert _without(stored, population.stored) == set(), "stored, but never sent"
        segmented, as_undisturbed = (_segmented(each) for each in (system.state, undisturbed.state))
        assert _without(as_undisturbed, segmented) == set(), "lost by the segmenter"
        assert _without(segmented, as_undisturbed) == set(), "stored by the segmenter, but not in the undisturbed run"
    with guarantee("no good record is given up"):
        assert [record.headers for record in system.records(REJECTED)] == []
    with guarantee("the topics tell every change once and in order, and agree with the database"):
        verified = _verify(system)
    with guarantee("every standing journey is that of an undisturbed run"):
        journeys = system.state.journeys(undisturbed.now)
        different = differing(journeys, undisturbed.journeys)
        assert different == [], _difference(different, system.state, undisturbed)
    with guarantee("no message goes out twice, and none that is due is forgotten"):
        mails = _check_messages(chaos, undisturbed)
    killed = ", ".join(f"{name} {count}" for name, count in sorted(chaos.kills.items()))
    report += [
        f"kill test, {shape} shape, seed {chaos.seed}: {chaos.killed} kills ({killed}), {chaos.freezes} freezes",
        f"  {len(population.ids)} events in {flow.requests} requests, {flow.attempts} attempts; each is stored once",
        f"  settled {settled:.1f} s after the last answer; {len(journeys)} standing journeys as in the undisturbed run",
        f"  mails: {mails} sent, none twice",
        "  parcours verify: " + ", ".join(f"{name} {number}" for name, number in verified.items()),
    ]


def _segmented(state: StoredState) -> Activity:
    """What the segmenter must have stored: the events that its segments name, of those who have segments."""
    segments = compile_definition(load_definition(SEGMENTS.read_bytes()))
    stored = state.activity("segmenter", segments.touches)
    return {subject: ids for subject, ids in stored.items() if not subject.startswith("account:")}


def _without(all_: Activity, some: Activity) -> set[tuple[str, str]]:
    """What the first holds and the second does not: subjects and message ids."""
    return {(subject, id_) for subject, ids in all_.items() for id_ in ids - some.get(subject, frozenset())}


def _difference(different: Sequence[str], state: StoredState, undisturbed: Undisturbed) -> str:
    """The first journey that differs: what stands, and what should."""
    engine, _, subject = different[0].split(" ", 2)
    now, should = (where.journey(engine, subject, undisturbed.now) for where in (state, undisturbed.state))
    told = [f"  is missing: {row[3:]}" for row in should if row not in now]
    told += [f"  is too much: {row[3:]}" for row in now if row not in should]
    return "\n".join([f"{len(different)} of {len(undisturbed.journeys)} journeys differ; of {different[0]}", *told])


def _verify(system: System) -> dict[str, int]:
    """Hold the live system to `parcours verify`; return what it counted."""
    done = system.attempt("verify", "--json")
    assert done.returncode == 0, f"parcours verify found:\n{done.stdout}{done.stderr}"
    found = json.loads(done.stdout)
    assert found["holds"]
    counts: dict[str, int] = found["counts"]
    return counts


def _check_messages(chaos: Chaos, undisturbed: Undisturbed) -> int:
    """At most one mail per decision, and one welcome per fresh buyer for what stands; returns the number of mails."""
    assert {key: count for key, count in chaos.mail.taken.items() if count > 1} == {}
    state = chaos.system.state
    rows = state.rows("notifier", "SELECT subject, campaign, scope, status FROM notifier_decisions")
    fresh = {subject for subject in undisturbed.population.stored if subject.startswith(f"user:{FRESH_PREFIX}")}
    welcomes = [row for row in rows if row[1] == "welcome" and row[0] in fresh]
    assert sorted(row[0] for row in welcomes) == sorted(fresh), "every fresh buyer gets one welcome"
    # One that was being sent when its sender was killed stays so until its lease ends, then it is unknown.
    assert {row[3] for row in welcomes} <= {"sent", "sending", "unknown"}
    # Which effect that is may differ from the undisturbed run: what replaces a corrected transition keeps its effect.
    standing = "SELECT subject, effect_id FROM stage_engine_transitions WHERE superseded_at IS NULL"
    assert {(row[0], row[2]) for row in welcomes} <= set(state.rows("stage_engine", standing))
    return chaos.mail.taken.total()
