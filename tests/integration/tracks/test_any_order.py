"""Whatever the order of arrival, repeats, splits into batches, wake-ups and crashes: the same standing journey."""

import dataclasses
import random
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior import Definition, fold
from schemas.times import DAY
from services.storage.database import Database
from tests.integration.tracks.harness import (
    Arrived,
    Driver,
    emptied,
    engine_of,
    expected,
    processor_of,
    standing_of,
    tables,
)
from tests.support.journeys import travel
from tests.support.models import MODELS, definition
from tracks.handler import TrackProcessor
from tracks.store import TrackStore

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)
_subjects = count()

steadily = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Traveller:
    """A subject with its events, and the instant up to which silence counts."""

    subject: str
    events: list[Arrived]
    until: int


def traveller(compiled: Definition, seed: int) -> Traveller:
    """A seeded history under a name of its own."""
    journey = travel(compiled, seed, 40)
    subject = f"{compiled.subject}:{next(_subjects)}"
    events = [
        Arrived(subject, each.message_id, each.name, each.at, dict(each.properties or {}), each.sequence)
        for each in journey.events
        if not each.name.startswith("$stage:")
    ]
    return Traveller(subject, events, max(journey.until, *(each.at for each in events)) + DAY)


def with_noise(each: Traveller, dice: random.Random) -> Traveller:
    """The same among events that no definition names, one of them perhaps the first of all."""
    first = min(event.at for event in each.events)
    noise = [
        Arrived(each.subject, f"n{number}", "Newspaper Read", dice.randrange(first - 5 * DAY, each.until))
        for number in range(dice.choice([1, 10]))
    ]
    return Traveller(each.subject, each.events + noise, each.until)


def arrive(driver: Driver, travellers: list[Traveller], dice: random.Random) -> None:
    """Post everything, in some order and in some batches, with repeats, wake-ups and crashes in between."""
    waiting = [event for each in travellers for event in each.events]
    if dice.random() < 0.3:
        waiting.sort(key=lambda event: event.at)
    elif dice.random() < 0.5:
        waiting.sort(key=lambda event: event.at + dice.choice([0, 0, 0, 0, 0, 30 * DAY]))
    else:
        dice.shuffle(waiting)
    for _ in range(len(waiting) // 4):
        waiting.insert(dice.randrange(len(waiting) + 1), dice.choice(waiting))
    start, end = min(event.at for event in waiting), max(each.until for each in travellers)
    while waiting:
        size = dice.choice([1, 1, 2, 5, 20])
        batch, waiting = waiting[:size], waiting[size:]
        chance = dice.random()
        if chance < 0.1:
            driver.lose(batch)
        elif chance < 0.2:
            driver.restart()
        driver.post(batch)
        if dice.random() < 0.2:
            driver.wake(dice.randrange(start, end), limit=dice.choice([1, 100]))
        if dice.random() < 0.2:
            driver.check_state(dice.choice(travellers).subject)
    driver.wake(end + DAY)


def journey_equals_fold(driver: Driver, compiled: Definition, each: Traveller) -> None:
    """The stored journey, the topic's, the present stages and the state are those of the machine alone."""
    until = driver.clock
    rows = driver.rows(each.subject)
    assert standing_of(rows, compiled.name) == expected(compiled, each.events, until)
    state, _ = fold(compiled, [event.event for event in each.events], until)
    places = {
        track.name: (here.stage, here.since, here.visit, here.reason)
        for track, here in zip(compiled.tracks, state.tracks, strict=True)
    }
    driver.check_state(each.subject)
    stored = driver.stages(each.subject)
    assert {name[1]: (row.stage, row.since, row.visit, row.reason) for name, row in stored.items()} == places
    assert sorted(driver.activity(each.subject)) == sorted({event.message_id for event in each.events})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [*MODELS, "every_predicate"])
@settings(steadily, max_examples=12)
@given(seed=SEEDS)
def test_a_shuffled_history_ends_in_the_journey_of_the_ordered_one(database: Database, name: str, seed: int) -> None:
    compiled = definition(name)
    dice = random.Random(seed)
    travellers = [traveller(compiled, seed + number) for number in range(dice.choice([1, 3]))]
    driver = Driver(emptied(database), processor_of(compiled))
    arrive(driver, travellers, dice)
    assert driver.dead == []
    for each in travellers:
        journey_equals_fold(driver, compiled, each)
    standing = driver.check_published()
    stored = {row.id: row for each in travellers for row in driver.rows(each.subject) if row.superseded_at is None}
    assert {id_: change["revision"] for id_, change in standing.items()} == {
        id_: row.revision for id_, row in stored.items()
    }
    assert {id_: change["effect_id"] for id_, change in standing.items()} == {
        id_: row.effect_id for id_, row in stored.items()
    }


@pytest.mark.timeout(120)
@settings(steadily, max_examples=8)
@given(seed=SEEDS)
def test_several_definitions_repair_the_same_subject_each_for_itself(database: Database, seed: int) -> None:
    first, second = definition("default"), definition("segments")
    dice = random.Random(seed)
    mixed = traveller(first, seed)
    guest = traveller(second, seed)
    other = [
        Arrived(mixed.subject, "o" + each.message_id, each.name, each.at, each.properties, each.sequence)
        for each in guest.events
    ]
    both = Traveller(mixed.subject, mixed.events + other, max(mixed.until, guest.until))
    driver = Driver(emptied(database), processor_of(first, second))
    arrive(driver, [both], dice)
    for compiled in (first, second):
        assert standing_of(driver.rows(both.subject), compiled.name) == expected(compiled, both.events, driver.clock)
    driver.check_published()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["default", "segments"])
@settings(steadily, max_examples=8)
@given(seed=SEEDS)
def test_an_engine_that_stores_only_what_it_consults_sees_the_same_journey(
    database: Database, name: str, seed: int
) -> None:
    compiled = definition(name)
    dice = random.Random(seed)
    each = with_noise(traveller(compiled, seed), dice)
    engine = dataclasses.replace(engine_of(compiled), keeps_every_event=False)
    driver = Driver(emptied(database), TrackProcessor(engine, TrackStore(tables)))
    arrive(driver, [each], dice)
    assert standing_of(driver.rows(each.subject), name) == expected(compiled, each.events, driver.clock)
    driver.check_published()
    stored = driver.activity(each.subject)
    consulted = {event.message_id for event in each.events if compiled.touches(event.name)}
    assert consulted <= set(stored)
    assert min(each.events, key=lambda event: event.event.at).at == driver.rows(each.subject)[0].effective_at
