"""Definitions and subjects that go too far: the partition goes on, and records stay within their topic's limit."""

import json

import pytest

from behavior import Definition, compile_definition
from schemas.language import load_definition
from schemas.times import DAY, parse_instant
from schemas.topics import TOPICS
from services.storage.database import Database
from tests.integration.tracks.harness import Arrived, Driver, expected, processor_of, standing_of
from tracks.folds import STUCK_SUBJECTS

T0 = parse_instant("2025-01-01T00:00:00.000Z")

RUNAWAY = """
lifecycle: runaway
version: 1
subject: user
tracks:
  stage:
    initial: calm
    stages: {calm: {}, here: {}, there: {}}
    transitions:
      - {id: starts, from: calm, event: Start, to: here}
      - {id: there, from: here, after: 1ms, to: there}
      - {id: back, from: there, after: 1ms, to: here}
"""

SWITCH = """
lifecycle: switch
version: 1
subject: user
tracks:
  stage:
    initial: off
    stages: {"off": {}, "on": {}}
    transitions:
      - {id: turns_on, from: "off", event: Press, to: "on"}
      - {id: turns_off, from: "on", event: Press, to: "off"}
"""


def compiled(text: str) -> Definition:
    return compile_definition(load_definition(text))


@pytest.mark.timeout(120)
def test_a_definition_that_runs_in_circles_stops_one_subject_and_nobody_else(database: Database) -> None:
    driver = Driver(database, processor_of(compiled(RUNAWAY)))
    driver.post([Arrived("user:dizzy", "m1", "Start", T0), Arrived("user:calm", "m1", "Other", T0)])
    driver.wake(T0 + DAY)
    assert driver.count(STUCK_SUBJECTS) == 1
    assert driver.processor.next_wake(0) is None
    driver.post([Arrived("user:dizzy", "m2", "Start", T0 + 2 * DAY), Arrived("user:calm", "m2", "Other", T0 + 2 * DAY)])
    assert [(each.record.offset, each.code) for each in driver.dead] == [(2, "runaway_definition")]
    assert driver.activity("user:dizzy") == ["m1"]
    assert driver.activity("user:calm") == ["m1", "m2"]


def test_a_long_correction_comes_in_several_records_that_each_fit_their_topic(database: Database) -> None:
    switch = compiled(SWITCH)
    driver = Driver(database, processor_of(switch))
    presses = [Arrived("user:ada", f"m{number:04}", "Press", T0 + number * 1_000) for number in range(1, 701)]
    driver.post(presses)
    driver.outputs.clear()
    first = Arrived("user:ada", "late", "Press", T0 + 500)
    driver.post([first])
    assert {kind for kind, _ in driver.published()} == {"parcours.stage.corrected"}
    limit = next(spec.max_record_bytes for spec in TOPICS if spec.name == driver.outputs[0].topic)
    assert len(driver.outputs) == 4
    assert all(len(output.value or b"") < limit / 2 for output in driver.outputs)
    assert len({dict(output.headers)["ce_id"] for output in driver.outputs}) == 4
    bodies = [json.loads(output.value or b"") for output in driver.outputs]
    assert [len(body["retracted"]) for body in bodies] == [400, 301, 0, 0]
    assert [len(body["added"]) for body in bodies] == [0, 99, 400, 203]
    assert standing_of(driver.rows("user:ada"), "switch") == expected(switch, [*presses, first], T0 + DAY)
