"""An explanation says why somebody is here, what each way on needs, and when that changes by itself."""

import random
import re

import pytest

from behavior import Outgoing, TrackExplanation, advance, explain, fold
from behavior.words import duration_words
from schemas.times import DAY, HOUR, format_instant
from tests.support.journeys import travel
from tests.support.models import MODELS, definition, definition_file
from tests.support.naive_fold import NaiveFold
from tests.support.small_models import START, at, compiled, event


def only(explanation: TrackExplanation, rule: str) -> Outgoing:
    return next(each for each in explanation.transitions if each.id == rule)


def test_a_stage_is_explained_by_its_transition_its_events_and_its_reason() -> None:
    model = definition("default")
    events = [event("0s", "Order Completed"), event("1d", "Payment Failed"), event("2d", "Signed In")]
    state = fold(model, events, at("9d"))[0]
    found = explain(model, state, at("10d"))
    stage = found.tracks[0]
    assert (found.lifecycle, found.version, found.at) == ("default", 1, at("10d"))
    assert (stage.track, stage.stage, stage.visit, stage.reason) == ("stage", "at_risk", 1, "payment")
    assert format_instant(stage.since) == "2025-01-10T00:00:00.000Z"
    assert stage.entered_by.transition == "never_starts"
    assert stage.entered_by.cause == "clock"
    assert stage.entered_by.evidence == ("Signed In@2d", "Payment Failed@1d")
    assert {each.id for each in stage.transitions} == {"deleted", "cancelled", "recovers", "lost"}


def test_a_way_on_lists_what_is_there_what_is_needed_and_until_when() -> None:
    model = definition("default")
    state = fold(model, [event("0s", "Order Completed"), event("2d", "Setup Completed")], at("3d"))[0]
    stage = explain(model, state, at("3d")).tracks[0]
    starts = only(stage, "never_starts")
    assert (starts.kind, starts.to, starts.holds, starts.until) == ("when", "at_risk", False, at("7d"))
    assert starts.why == {"en": "Bought but did not use it for 7 days"}
    assert [(each.words, each.present, each.needed, each.until, each.evidence) for each in starts.checklist] == [
        ("no use events for 7 days", "3 days", "7 days", at("7d"), ("Order Completed@0s",))
    ]
    activated = only(stage, "activated")
    assert [(each.group, each.holds, each.present, each.needed) for each in activated.checklist] == [
        ("any/1/all", True, "1", "at least 1"),
        ("any/1/all", False, "0", "at least 3"),
        ("any/1/all", False, "1", "at least 3"),
        ("any/1/all", True, "0", "at most 1"),
        ("any", False, "1", "at least 2"),
    ]
    cancelled = only(stage, "cancelled")
    assert (cancelled.kind, cancelled.holds, cancelled.until) == ("event", False, None)
    assert cancelled.checklist[0].words == "Subscription Cancelled happens"


def test_a_waiting_time_is_explained_as_one() -> None:
    model = definition("saas_trial")
    state = fold(model, [event("0s", "Subscription Started"), event("1d", "Payment Failed")], at("2d"))[0]
    ends = only(explain(model, state, at("2d")).tracks[0], "dunning_ends")
    assert (ends.kind, ends.holds, ends.until) == ("after", False, at("22d"))
    assert ends.checklist[0].words == "in this stage for 21 days"


def test_a_negated_condition_is_told_the_other_way_round() -> None:
    model = definition("retail_loyalty")
    state = fold(model, [event("0s", "Points Earned")], at("1d"))[0]
    activity = next(each for each in explain(model, state, at("1d")).tracks if each.track == "activity")
    first = only(activity, "turns_active").checklist[0]
    assert (first.words, first.holds, first.present) == ("not: tier is none", False, "none for 1 day")


def test_two_rules_that_undo_each_other_are_named() -> None:
    model = compiled(
        "{t: {initial: a, stages: {a: {}, b: {}}, transitions: [{id: go, from: a, to: b, when: {always: true}}, "
        "{id: back, from: b, to: a, when: {always: true}}]}}"
    )
    state = fold(model, [event("0s", "X")], at("1d"))[0]
    track = explain(model, state, at("1d")).tracks[0]
    assert track.conflict == ("go", "back", START)
    assert track.transitions[0].holds


def test_explaining_the_future_runs_what_is_due_and_leaves_the_state_alone() -> None:
    model = definition("default")
    state = fold(model, [event("0s", "Order Completed")], at("1d"))[0]
    before = state.dump()
    assert explain(model, state, at("100d")).tracks[0].stage == "churned"
    assert state.dump() == before
    advance(model, state, at("100d"))
    assert state.tracks[0].stage == "churned"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [*MODELS, "every_predicate"])
def test_the_instant_at_which_an_answer_changes_by_itself_is_exact(name: str) -> None:
    model, checked = definition(name), 0
    for seed in range(12):
        dice = random.Random(seed)
        journey = travel(model, seed, 30)
        moment = dice.choice(journey.events).at + dice.choice([0, HOUR, 9 * DAY])
        events = [each for each in journey.events if each.at <= moment]
        naive = NaiveFold(definition_file(name))
        naive.run(events, moment)
        found = explain(model, fold(model, events, moment)[0], moment)
        for track in found.tracks:
            rules = {each.id: each for each in definition_file(name).tracks[track.track].transitions}
            for way in track.transitions:
                assert all(re.search("[a-z]", each.words) and each.present for each in way.checklist)
                when = rules[way.id].when
                if way.kind == "event" or rules[way.id].after is not None or when is None:
                    continue
                instants = [moment] if way.until is None else [moment, way.until - 1, way.until]
                answers = []
                for naive.at in instants:
                    answers.append(naive.holds(when, track.track))
                assert answers == [way.holds, way.holds, not way.holds][: len(instants)], (way, format_instant(moment))
                checked += way.until is not None
    assert checked > 5


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "no time"),
        (-5, "no time"),
        (1, "1 millisecond"),
        (90_000, "1 minute 30 seconds"),
        (26 * HOUR, "1 day 2 hours"),
        (DAY + 1, "1 day 1 millisecond"),
        (400 * DAY + HOUR + 1, "400 days 1 hour"),
    ],
)
def test_durations_are_told_in_their_two_largest_units(milliseconds: int, words: str) -> None:
    assert duration_words(milliseconds) == words
