"""What stands, what is taken back, and whose effect a replacement inherits."""

from itertools import combinations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior import Transition
from schemas.times import DAY
from tests.support.models import definition
from tracks.domain.changes import Journey, transition_id
from tracks.domain.corrections import append, pair, repair
from tracks.domain.rows import TransitionRow

JOURNEY = Journey("default", "user:ada", 3, definition("default"), 77)
LATER = msgspec.structs.replace

steadily = settings(derandomize=True, deadline=None, database=None)


def transition(to: str, day: int, *, track: str = "stage", visit: int = 1, reason: str | None = None) -> Transition:
    return Transition(track, 0, 0, "adoption", to, f"to_{to}", visit, day * DAY, reason, "clock", (), ("m1",), ())


def stored(*transitions: Transition) -> list[TransitionRow]:
    return append(JOURNEY, [], transitions)


def superseded(rows: list[TransitionRow], gone: list[TransitionRow]) -> list[TransitionRow]:
    return [row._replace(superseded_at=99) if row in gone else row for row in rows]


def after(rows: list[TransitionRow], *transitions: Transition) -> list[TransitionRow]:
    """All rows once a journey was folded anew to these transitions."""
    found = repair(JOURNEY, rows, transitions)
    return superseded(rows, found.retracted) + found.added


def test_an_id_depends_on_who_where_when_and_which_way_and_on_nothing_else() -> None:
    first = transition("at_risk", 5)
    same = LATER(first, reason="faded", visit=4, cause="m9", step=3, evidence=())
    assert transition_id(JOURNEY, first) == transition_id(JOURNEY, same)
    assert len(transition_id(JOURNEY, first)) == 32
    others = [
        LATER(first, at=first.at + 1),
        LATER(first, ordinal=1),
        LATER(first, from_=None),
        LATER(first, to="churned"),
        LATER(first, transition="other"),
        LATER(first, track="rewards"),
    ]
    assert len({transition_id(JOURNEY, each) for each in (first, *others)}) == 7


def test_a_first_transition_has_revision_one_and_is_its_own_effect() -> None:
    [row] = stored(transition("at_risk", 5))
    assert (row.revision, row.effect_id, row.superseded_at) == (1, row.id, None)
    assert (row.partition, row.recorded_at, row.effective_at) == (3, 77, 5 * DAY)


def test_the_same_transitions_stand() -> None:
    rows = stored(transition("at_risk", 5), transition("churned", 65))
    found = repair(JOURNEY, rows, [transition("at_risk", 5), transition("churned", 65)])
    assert (found.retracted, found.added) == ([], [])


@pytest.mark.parametrize("change", [{"reason": "price"}, {"visit": 2}, {"cause": "m7", "message_ids": ("m7",)}])
def test_another_reason_visit_or_cause_is_another_revision_of_the_same_id(change: dict[str, object]) -> None:
    rows = stored(transition("at_risk", 5))
    found = repair(JOURNEY, rows, [LATER(transition("at_risk", 5), **change)])
    assert found.retracted == rows
    [added] = found.added
    assert (added.id, added.revision, added.effect_id) == (rows[0].id, 2, rows[0].effect_id)


def test_evidence_and_step_alone_change_nothing() -> None:
    rows = stored(transition("at_risk", 5))
    found = repair(JOURNEY, rows, [LATER(transition("at_risk", 5), evidence=("m2",), step=4)])
    assert (found.retracted, found.added) == ([], [])


def test_a_replacement_inherits_the_effect_of_the_retracted_one_into_the_same_stage_of_the_same_track() -> None:
    rows = stored(transition("at_risk", 5), transition("churned", 65), transition("at_risk", 9, track="rewards"))
    found = repair(JOURNEY, rows, [transition("at_risk", 30), transition("won_back", 31)])
    effects = {(row.track, row.to_stage): row.effect_id for row in found.added}
    assert effects["stage", "at_risk"] == rows[0].id
    assert effects["stage", "won_back"] not in {row.id for row in rows}


def test_what_comes_back_has_the_next_revision_and_the_effect_it_had() -> None:
    moved = after(stored(transition("at_risk", 5)), transition("at_risk", 9))
    inherited = moved[-1]
    assert inherited.effect_id == moved[0].id
    gone = after(moved)
    assert [row.superseded_at for row in gone] == [99, 99]
    back = after(gone, transition("at_risk", 9))
    assert (back[-1].id, back[-1].revision, back[-1].effect_id) == (inherited.id, 2, moved[0].id)


def test_what_follows_a_journey_of_which_something_was_taken_back_knows_its_earlier_revisions() -> None:
    gone = after(stored(transition("at_risk", 5)))
    [row] = append(JOURNEY, gone, [transition("at_risk", 5)])
    assert (row.id, row.revision, row.effect_id) == (gone[0].id, 2, gone[0].id)


def test_two_standing_transitions_never_share_an_effect() -> None:
    moved = after(stored(transition("at_risk", 5)), transition("at_risk", 9))
    both = after(moved, transition("at_risk", 5), LATER(transition("at_risk", 9), visit=2))
    standing = [row for row in both if row.superseded_at is None]
    assert len(standing) == 2
    assert len({row.effect_id for row in standing}) == 2
    assert moved[0].id in {row.effect_id for row in standing}


STAGES = st.sampled_from(["at_risk", "churned", "won_back"])
JOURNEYS = st.lists(
    st.lists(st.tuples(STAGES, st.integers(0, 30), st.integers(1, 2)), max_size=6, unique_by=lambda each: each[1]),
    min_size=1,
    max_size=6,
)


@steadily
@given(JOURNEYS)
def test_over_any_sequence_of_repairs_ids_alternate_and_effects_stay_apart(
    journeys: list[list[tuple[str, int, int]]],
) -> None:
    rows: list[TransitionRow] = []
    for journey in journeys:
        made = [transition(to, day, visit=visit) for to, day, visit in sorted(journey, key=lambda each: each[1])]
        found = repair(JOURNEY, rows, made)
        kept = [row for row in rows if row.superseded_at is None and row not in found.retracted]
        rows = superseded(rows, found.retracted) + found.added
        standing = [row for row in rows if row.superseded_at is None]
        assert {row.id for row in standing} == {transition_id(JOURNEY, each) for each in made}
        assert len({row.effect_id for row in standing}) == len(standing)
        assert len({(row.id, row.revision) for row in rows}) == len(rows)
        for row in found.added:
            before = [other.revision for other in rows if other.id == row.id and other is not row]
            assert row.revision == max(before, default=0) + 1
        # Whatever replaces something into the same stage repeats none of its effects.
        for stage in ("at_risk", "churned", "won_back"):
            gone = {row.effect_id for row in found.retracted if row.to_stage == stage}
            come = {row.effect_id for row in found.added if row.to_stage == stage}
            assert len(gone & come) >= min(len(gone), len(come))
        assert {row.effect_id for row in kept}.isdisjoint(row.effect_id for row in found.added)


def _least(before: list[int], after_: list[int]) -> int:
    """The least total distance over every way to pair in order, tried one by one."""
    short, long = sorted((before, after_), key=len)
    ways = combinations(long, len(short))
    return min(sum(abs(left - right) for left, right in zip(short, way, strict=True)) for way in ways)


INSTANTS = st.lists(st.integers(0, 100), max_size=6).map(sorted)


@steadily
@given(INSTANTS, INSTANTS)
def test_pairs_are_as_many_as_possible_in_order_and_nearest_in_time(before: list[int], after_: list[int]) -> None:
    pairs = pair(before, after_)
    assert len(pairs) == min(len(before), len(after_))
    assert pairs == sorted(pairs)
    assert len({left for left, _ in pairs}) == len({right for _, right in pairs}) == len(pairs)
    assert sum(abs(before[left] - after_[right]) for left, right in pairs) == _least(before, after_)


def test_very_long_lists_are_paired_from_their_beginnings() -> None:
    assert pair(list(range(600)), list(range(900))) == [(number, number) for number in range(600)]
