"""The rules of the clock of a partition."""

import msgspec
import pytest

from schemas.changes import Progress
from schemas.records import StoredRecord
from schemas.times import format_instant
from schemas.topics import CONTROL, EVENTS, ROUTED, SEGMENT_CHANGES, STAGE_CHANGES
from services.runtime.partition_clock import (
    InputState,
    carries_progress,
    clock_after,
    progress_clock,
    smallest_received,
)

SETTLE = 5


def record(topic: str, timestamp: int, value: bytes = b"{}", kind: bytes = b"Signed In") -> StoredRecord:
    """A record with nothing but what the clock looks at."""
    return StoredRecord(topic, 0, 0, b"k", value, (("ce_type", kind),), timestamp)


def progress(clock: int) -> StoredRecord:
    """A progress record of the stage engine."""
    value = msgspec.json.encode(Progress("stage-engine", 0, {}, format_instant(clock)))
    return record(STAGE_CHANGES, 1, value, b"parcours.stage.progress")


def test_inputs_read_to_their_end_give_the_earliest_answer_minus_settle() -> None:
    inputs = [InputState(EVENTS, read_until=100), InputState(CONTROL, read_until=90)]
    assert clock_after(0, inputs, SETTLE) == 85


def test_the_clock_never_goes_back() -> None:
    assert clock_after(99, [InputState(EVENTS, read_until=50)], SETTLE) == 99


def test_an_input_of_which_nothing_is_known_holds_the_clock() -> None:
    assert clock_after(7, [InputState(EVENTS, read_until=100), InputState(CONTROL)], SETTLE) == 7


def test_a_lagging_input_gives_the_smallest_received_time() -> None:
    inputs = [InputState(EVENTS, received=60), InputState(CONTROL, read_until=100)]
    assert clock_after(0, inputs, SETTLE) == 55


def test_forwarded_history_does_not_drag_a_routed_topic_that_is_read_to_its_end() -> None:
    inputs = [InputState(EVENTS, read_until=100), InputState(ROUTED, read_until=100, received=3)]
    assert clock_after(0, inputs, SETTLE) == 95


@pytest.mark.parametrize(("bound", "expected"), [(40, 40), (200, 95), (None, 0)])
def test_progress_of_an_input_bounds_the_clock_without_another_settle(bound: int | None, expected: int) -> None:
    inputs = [InputState(EVENTS, read_until=100), InputState(STAGE_CHANGES, read_until=100, bound=bound)]
    assert clock_after(0, inputs, SETTLE) == expected


def test_the_topics_that_carry_progress_are_those_of_the_engines() -> None:
    assert {
        topic for topic in (EVENTS, ROUTED, CONTROL, STAGE_CHANGES, SEGMENT_CHANGES) if carries_progress(topic)
    } == {
        STAGE_CHANGES,
        SEGMENT_CHANGES,
    }


def test_the_latest_progress_record_counts_and_unreadable_ones_are_passed_over() -> None:
    broken = record(STAGE_CHANGES, 1, b"not json", b"parcours.stage.progress")
    timeless = record(STAGE_CHANGES, 1, msgspec.json.encode(Progress("e", 0, {}, "noon")), b"parcours.stage.progress")
    assert progress_clock([progress(70), progress(60), broken, timeless]) == 70
    assert progress_clock([record(STAGE_CHANGES, 1, b'{"clock":"1970-01-01T00:00:01.000Z"}')]) is None


def test_only_event_records_have_a_received_time() -> None:
    assert smallest_received(EVENTS, [record(EVENTS, 9), record(EVENTS, 4)]) == 4
    assert smallest_received(STAGE_CHANGES, [record(STAGE_CHANGES, 9)]) is None
    assert smallest_received(ROUTED, []) is None
