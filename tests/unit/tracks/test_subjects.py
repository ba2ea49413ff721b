"""When silence counts, and what is stored of a subject."""

from behavior import Event, apply
from schemas.times import DAY, HOUR
from tests.support.models import definition
from tracks.domain.subjects import Subject, quiet_until, row_of_subject, subject_of_row

SETTLE, SETTLE_HISTORY = 5_000, 60_000
DEFAULT, SEGMENTS = definition("default"), definition("segments")


def subject_after(*events: Event) -> Subject:
    subject = Subject("default", "user:ada", 2, (DEFAULT, SEGMENTS))
    for event in events:
        for definition_, state in zip(subject.definitions, subject.states, strict=True):
            assert state is not None
            apply(definition_, state, event.at, [event])
        subject.arrived(event.at, event.at + 1, SETTLE, SETTLE_HISTORY)
    return subject


def test_what_happens_now_settles_shortly_and_history_longer() -> None:
    assert quiet_until(1_000, 1_500, SETTLE, SETTLE_HISTORY) == 6_500
    assert quiet_until(0, HOUR, SETTLE, SETTLE_HISTORY) == HOUR + SETTLE
    assert quiet_until(0, HOUR + 1, SETTLE, SETTLE_HISTORY) == HOUR + 1 + SETTLE_HISTORY


def test_a_live_event_does_not_shorten_the_wait_after_history() -> None:
    subject = Subject("default", "user:ada", 2, (DEFAULT,))
    subject.arrived(0, 2 * HOUR, SETTLE, SETTLE_HISTORY)
    subject.arrived(2 * HOUR, 2 * HOUR + 10, SETTLE, SETTLE_HISTORY)
    assert subject.quiet_until == 2 * HOUR + SETTLE_HISTORY
    assert (subject.first_at, subject.last_at) == (0, 2 * HOUR)


def test_nothing_is_due_before_the_arrivals_have_settled() -> None:
    subject = subject_after(Event(0, "m1", "Order Completed"))
    state = subject.states[0]
    assert state is not None
    assert subject.due_at == state.next_due_at == 7 * DAY
    subject.arrived(0, 30 * DAY, SETTLE, SETTLE_HISTORY)
    assert subject.due_at == 30 * DAY + SETTLE_HISTORY


def test_the_stored_wake_only_moves_earlier_by_itself() -> None:
    subject = subject_after(Event(0, "m1", "Order Completed"))
    subject.lower_wake()
    assert subject.wake_at == 7 * DAY
    later = subject_after(Event(0, "m1", "Order Completed"), Event(DAY, "m2", "Signed In"))
    later.wake_at = subject.wake_at
    later.lower_wake()
    assert later.wake_at == 7 * DAY


def test_a_subject_comes_back_as_it_was_stored() -> None:
    subject = subject_after(Event(0, "m1", "Order Completed"), Event(DAY, "m2", "Signed In"))
    subject.lower_wake()
    row = row_of_subject(subject)
    again = subject_of_row(row, (DEFAULT, SEGMENTS))
    assert row_of_subject(again) == row
    assert again.key == b"default\x1fuser:ada"


def test_a_definition_that_is_not_the_stored_one_has_no_state() -> None:
    row = row_of_subject(subject_after(Event(0, "m1", "Order Completed")))
    added = subject_of_row(row, (DEFAULT, SEGMENTS, definition("retail_loyalty")))
    assert [state is None for state in added.states] == [False, False, True]
