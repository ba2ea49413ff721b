"""Whatever the order of arrival, the repeats, the splits and the wake-ups: the same journey, and the naive one."""

import random
from collections import Counter
from itertools import groupby

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior import (
    Definition,
    Event,
    State,
    Transition,
    advance,
    apply,
    compile_definition,
    counting,
    fold,
    measuring,
    standing,
)
from schemas.times import HOUR
from tests.support.journeys import Journey, travel
from tests.support.models import MODELS, definition, definition_file
from tests.support.naive_fold import NaiveFold, Row
from tests.unit.behavior.test_golden_traces import _deaf

ALL = (*MODELS, "every_predicate")
SEEDS = st.integers(min_value=0, max_value=2**32 - 1)

steadily = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
)


def as_rows(transitions: list[Transition]) -> list[Row]:
    return [
        Row(each.at, each.track, each.ordinal, each.step, each.from_, each.to, each.transition, each.reason, each.cause,
            each.visit)
        for each in transitions
    ]  # fmt: skip


def in_parts(compiled: Definition, journey: Journey, dice: random.Random) -> tuple[State, list[Transition]]:
    """Fold instant by instant, storing and loading the state at random points."""
    state, made = State.new(compiled), list[Transition]()
    for at, group in groupby(journey.events, key=lambda event: event.at):
        made += apply(compiled, state, at, list(group))
        if dice.random() < 0.5:
            state = State.load(compiled, state.dump())
    made += advance(compiled, state, journey.until)
    return state, made


def woken(compiled: Definition, journey: Journey, instants: list[int]) -> list[Transition]:
    """Fold with superfluous wake-ups at the given instants."""
    state, made = State.new(compiled), list[Transition]()
    events = [(at, list(group)) for at, group in groupby(journey.events, key=lambda event: event.at)]
    busy = {at for at, _ in events}
    agenda: list[tuple[int, list[Event]]] = [*events, *((at, []) for at in set(instants) - busy)]
    for at, group in sorted(agenda, key=lambda entry: entry[0]):
        if at <= journey.until:
            made += apply(compiled, state, at, group)
    made += advance(compiled, state, journey.until)
    return made


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ALL)
@settings(steadily, max_examples=14)
@given(seed=SEEDS)
def test_the_machine_agrees_with_the_naive_fold(name: str, seed: int) -> None:
    journey = travel(definition(name), seed, 40)
    expected = NaiveFold(definition_file(name)).run(journey.events, journey.until)
    assert as_rows(fold(definition(name), journey.events, journey.until)[1]) == expected


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ALL)
@settings(steadily, max_examples=25)
@given(seed=SEEDS, dice=st.randoms(use_true_random=False))
def test_order_of_arrival_repeats_and_splits_change_nothing(name: str, seed: int, dice: random.Random) -> None:
    compiled = definition(name)
    journey = travel(compiled, seed, 60)
    state, made = fold(compiled, journey.events, journey.until)
    arrived = journey.events + dice.choices(journey.events, k=len(journey.events) // 2)
    dice.shuffle(arrived)
    shuffled, again = fold(compiled, arrived, journey.until)
    split, parts = in_parts(compiled, journey, dice)
    assert again == made
    assert parts == made
    assert shuffled.dump() == state.dump() == split.dump()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ALL)
@settings(steadily, max_examples=12)
@given(seed=SEEDS, dice=st.randoms(use_true_random=False))
def test_superfluous_wake_ups_change_nothing(name: str, seed: int, dice: random.Random) -> None:
    compiled = definition(name)
    journey = travel(compiled, seed, 50)
    made = fold(compiled, journey.events, journey.until)[1]
    first = journey.events[0].at
    half_days = list(range(first + 12 * HOUR, journey.until, 12 * HOUR))
    anywhere = [dice.randrange(first + 1, journey.until + 2) for _ in range(200)]
    ticks = [each.at + dice.choice([1, 1, 2]) for each in made]
    assert woken(compiled, journey, half_days) == made
    assert woken(compiled, journey, anywhere + ticks) == made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ALL)
@settings(steadily, max_examples=30)
@given(seed=SEEDS)
def test_the_short_cuts_change_nothing(name: str, seed: int) -> None:
    compiled = definition(name)
    journey = travel(compiled, seed, 60)
    state, made = fold(compiled, journey.events, journey.until)
    plain, same = fold(compiled, journey.events, journey.until, short_cuts=False)
    assert same == made
    assert plain.slots == state.slots
    assert [here.conflict for here in plain.tracks] == [here.conflict for here in state.tracks]


@pytest.mark.parametrize("name", MODELS)
def test_every_shipped_transition_fires_in_the_generated_journeys(name: str) -> None:
    compiled = definition(name)
    fired: Counter[str] = Counter()
    for seed in range(100):
        travel(compiled, seed, 50, fired)
    shipped = {f"{track}.{rule.id}" for track, each in compiled.file.tracks.items() for rule in each.transitions}
    print(name, len(shipped), "transitions:", {rule: fired[rule] for rule in sorted(shipped)})
    assert {rule for rule in shipped if not fired[rule]} == set()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["active_days", "did", "distinct", "sum"])
def test_generated_journeys_notice_what_the_traces_do_not(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counting, measuring, standing):
        monkeypatch.setattr(module, "leaf", _deaf(kind))
    forgetful = {name: compile_definition(definition_file(name)) for name in ALL}
    monkeypatch.undo()
    for name in ALL:
        for seed in range(60):
            journey = travel(definition(name), seed, 50)
            made = fold(definition(name), journey.events, journey.until)[1]
            if fold(forgetful[name], journey.events, journey.until)[1] != made:
                return
    pytest.fail(f"no generated journey depends on when {kind} changes")
