"""The golden traces through the processor, live: event by event, with due instants in between, late ones late."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest

from schemas.times import DAY, format_instant, parse_instant
from services.storage.database import Database
from stage_engine.handlers import StageProcessor
from stage_engine.tables import tables
from tests.integration.tracks.harness import Arrived, Driver
from tests.support.models import definition, golden_traces
from tracks.store import TrackStore

TRACES = golden_traces()
NAMES = [trace["name"] for trace in TRACES]


def events_of(trace: dict[str, Any]) -> list[Arrived]:
    subject = f"{definition(trace['model']).subject}:golden"
    return [
        Arrived(subject, each["messageId"], each["event"], parse_instant(each["timestamp"]), each["properties"])
        for each in trace["events"]
    ]


def follow(database: Database, trace: dict[str, Any], batches: Sequence[Sequence[Arrived]]) -> Driver:
    """Let batches arrive one after the other, the clock passing with them; then let silence count to the end."""
    driver = Driver(database, StageProcessor([definition(trace["model"])]), store=TrackStore(tables))
    for batch in batches:
        driver.wake(min(each.at for each in batch) - 1)
        driver.post(batch)
    driver.wake(parse_instant(trace["as_of"]))
    return driver


def as_trace(driver: Driver, subject: str) -> list[dict[str, Any]]:
    """What stands, in the form and the order of the traces."""
    return [
        {
            "effective_at": format_instant(row.effective_at),
            "track": row.track,
            "ordinal": row.ordinal,
            "step": row.step,
            "from": row.from_stage,
            "to": row.to_stage,
            "transition": row.transition,
            "reason": row.reason,
            "cause": row.cause,
        }
        for row in driver.rows(subject)
        if row.superseded_at is None
    ]


def in_order(transitions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(transitions, key=lambda each: (each["effective_at"], each["step"], each["ordinal"], each["track"]))


def comes_out(driver: Driver, trace: dict[str, Any], subject: str) -> None:
    assert as_trace(driver, subject) == in_order(trace["expected"])
    stages = {track: row.stage for (_, track), row in driver.stages(subject).items()}
    assert stages == trace["final"]
    driver.check_state(subject)
    assert driver.dead == []


def test_there_are_thirteen_traces() -> None:
    assert len(TRACES) == 13


@pytest.mark.timeout(60)
@pytest.mark.parametrize("trace", TRACES, ids=NAMES)
def test_every_trace_comes_out_live_instant_by_instant_without_a_correction(
    database: Database, trace: dict[str, Any]
) -> None:
    events = events_of(trace)
    driver = follow(database, trace, [list(group) for _, group in groupby(events, key=lambda each: each.at)])
    comes_out(driver, trace, events[0].subject)
    assert {kind for kind, _ in driver.published()} == {"parcours.stage.changed"}


@pytest.mark.parametrize("trace", TRACES, ids=NAMES)
def test_every_trace_comes_out_live_in_batches(database: Database, trace: dict[str, Any]) -> None:
    events = events_of(trace)
    driver = follow(database, trace, [events[start : start + 7] for start in range(0, len(events), 7)])
    comes_out(driver, trace, events[0].subject)


@pytest.mark.parametrize("trace", TRACES, ids=NAMES)
def test_every_trace_comes_out_when_its_history_arrives_backwards(database: Database, trace: dict[str, Any]) -> None:
    events = events_of(trace)
    driver = Driver(database, StageProcessor([definition(trace["model"])]), store=TrackStore(tables))
    for start in range(len(events), 0, -5):
        driver.post(events[max(0, start - 5) : start])
    driver.wake(parse_instant(trace["as_of"]))
    comes_out(driver, trace, events[0].subject)
    driver.check_published()


def test_trace_b_one_sign_in_that_comes_110_days_late_repairs_the_past(database: Database) -> None:
    trace = next(each for each in TRACES if each["name"] == "B")
    events = events_of(trace)
    late = next(each for each in events if each.message_id == "m0017")
    driver = Driver(database, StageProcessor([definition("default")]), store=TrackStore(tables))
    for each in events:
        if each is not late:
            driver.wake(each.at - 1)
            driver.post([each])
    arrival = parse_instant("2025-06-10T00:00:00.000Z")
    driver.wake(arrival)
    before = {row.to_stage: row for row in driver.rows(late.subject)}
    driver.outputs.clear()
    driver.post([Arrived(late.subject, late.message_id, late.name, late.at, late.properties, received_at=arrival)])
    [(kind, corrected)] = driver.published()
    assert (kind, corrected["cause"]) == ("parcours.stage.corrected", "m0017")
    start = parse_instant("2025-01-01T00:00:00.000Z")

    def placed(changes: list[dict[str, Any]]) -> list[tuple[str, int]]:
        return [(each["to"], (parse_instant(each["effective_at"]) - start) // DAY) for each in changes]

    assert placed(corrected["retracted"]) == [("at_risk", 55), ("churned", 115), ("won_back", 130), ("advocacy", 132)]
    assert placed(corrected["added"]) == [("at_risk", 80), ("advocacy", 131)]
    effects = {each["to"]: each["effect_id"] for each in corrected["added"]}
    assert effects["at_risk"] == before["at_risk"].effect_id
    assert effects["advocacy"] == next(each["effect_id"] for each in corrected["retracted"] if each["to"] == "advocacy")
    driver.wake(parse_instant(trace["as_of"]))
    comes_out(driver, trace, late.subject)


def test_signing_in_and_ordering_alone_still_give_a_sensible_journey(database: Database) -> None:
    start = parse_instant("2025-01-01T00:00:00.000Z")
    days = {0: "Order Completed", 2: "Signed In", 5: "Signed In", 9: "Order Completed", 20: "Signed In"}
    driver = Driver(database, StageProcessor([definition("default")]), store=TrackStore(tables))
    for day, name in days.items():
        driver.wake(start + day * DAY - 1)
        driver.post([Arrived("user:simple", f"m{day}", name, start + day * DAY)])
    driver.wake(start + 200 * DAY)
    journey = [
        (row.to_stage, (row.effective_at - start) // DAY) for row in driver.rows("user:simple") if row.track == "stage"
    ]
    assert journey == [("awareness", 0), ("adoption", 0), ("retention", 9), ("at_risk", 50), ("churned", 110)]
