"""The semantics of the language, sentence by sentence, where the models do not reach."""

import pytest

from behavior import Event, OutOfOrder, State, compile_definition, fold, step
from schemas.language import load_definition
from schemas.times import parse_instant
from tests.support.small_models import START, at, compiled, event, journey, told

AB = "{t: {initial: a, stages: {a: {}, b: {}, c: {}}, transitions: [%s]}}"


def test_a_subject_begins_with_its_first_event_of_any_kind() -> None:
    definition = compiled(AB % "{id: r, from: a, to: b, when: {inactive: {event: X, for: 2d}}}")
    state, made = fold(definition, [event("0s", "Never Heard Of")], at("1d"))
    assert [(each.transition, each.cause, each.step, each.ordinal) for each in made] == [
        ("initial", "Never Heard Of@0s", 0, 0)
    ]
    assert state.first_at == START
    assert state.next_due_at == at("2d")


def test_one_event_fires_at_most_one_event_transition_of_a_track_and_is_then_spent() -> None:
    definition = compiled(AB % "{id: ab, from: a, to: b, event: X}, {id: bc, from: b, to: c, event: X}")
    assert journey(definition, [event("0s", "X")]) == ["0: t a>b ab (X@0s)"]
    assert journey(definition, [event("0s", "X", "1"), event("0s", "X", "2")]) == [
        "0: t a>b ab (1)",
        "0: t b>c bc (2)",
    ]


def test_the_order_of_the_list_is_the_priority() -> None:
    rules = ["{id: one, from: a, to: b, event: X}", "{id: two, from: a, to: c, event: X}"]
    for first, to in ((rules, "b"), (rules[::-1], "c")):
        assert f"a>{to}" in journey(compiled(AB % ", ".join(first)), [event("0s", "X")])[0]


def test_simultaneous_events_follow_sequence_and_then_message_id_and_not_arrival() -> None:
    definition = compiled(AB % "{id: x, from: a, to: b, event: X}, {id: y, from: a, to: c, event: Y}")
    early, late = Event(START, "9", "X", 1), Event(START, "1", "Y", 2)
    assert journey(definition, [late, early])[0].startswith("0: t a>b")
    assert journey(definition, [Event(START, "1", "X", 1), Event(START, "9", "Y")])[0].startswith("0: t a>c")
    assert journey(definition, [Event(START, "9", "X"), Event(START, "10", "Y")])[0].startswith("0: t a>c")


def test_a_transition_into_the_present_stage_does_nothing_and_lets_the_next_one_be_asked() -> None:
    definition = compiled(AB % "{id: self, from: '*', to: a, event: X}, {id: on, from: a, to: b, event: X}")
    assert journey(definition, [event("0s", "X"), event("1s", "X")]) == [
        "0: t a>b on (X@0s)",
        "1: t b>a self (X@1s)",
    ]


def test_event_when_and_after_must_all_hold() -> None:
    definition = compiled(
        AB % "{id: r, from: a, to: b, event: X, where: {n: {gte: 2}}, when: {did: {event: Y}}, after: 1d}"
    )
    events = [event("0s", "Y"), event("12h", "X", n=5), event("1d", "X", n=1), event("2d", "X", n=2)]
    assert journey(definition, events) == ["172800: t a>b r (X@2d)"]
    assert journey(definition, events[1:]) == []


def test_a_condition_on_an_event_sees_the_event_itself_and_those_before_it_only() -> None:
    definition = compiled(AB % "{id: r, from: a, to: b, event: X, when: {count: {event: [X, Y], at_least: 2}}}")
    assert journey(definition, [event("0s", "X", "1"), event("0s", "Y", "2")]) == []
    assert journey(definition, [event("0s", "Y", "1"), event("0s", "X", "2")]) == ["0: t a>b r (2)"]


def test_steps_count_over_all_tracks_and_ordinals_within_one() -> None:
    definition = compiled(
        "{t: {initial: a, stages: {a: {}, b: {}, c: {}}, transitions: [{id: 'r1', from: a, to: b, event: X}, "
        "{id: r2, from: b, to: c, when: {did: {event: X}}}]}, u: {initial: a, stages: {a: {}, b: {}}, transitions: "
        "[{id: r3, from: a, to: b, when: {in_stage: {track: t, stage: c}}}]}}"
    )
    made = fold(definition, [event("0s", "X")], at("1d"))[1]
    assert [(each.track, each.transition, each.ordinal, each.step, each.cause) for each in made] == [
        ("t", "initial", 0, 0, "X@0s"),
        ("u", "initial", 0, 0, "X@0s"),
        ("t", "r1", 1, 0, "X@0s"),
        ("t", "r2", 2, 0, "X@0s"),
        ("u", "r3", 1, 1, "clock"),
    ]


def test_the_cause_of_a_level_transition_is_the_first_event_that_feeds_its_condition() -> None:
    head = "scores: {s: {half_life: 1d, cap: 10, weights: {Y: 5}}}"
    rule = "{id: r, from: a, to: b, when: {any: [{trait: {name: p, is: 1}}, {score: {name: s, at_least: 5}}]}}"
    definition = compiled(AB % rule, head)
    assert journey(definition, [event("0s", "X", "1"), event("0s", "Y", "2")]) == ["0: t a>b r (2)"]
    assert journey(definition, [event("0s", "Y", "2"), event("0s", "$identify", "1", p=1)]) == ["0: t a>b r (1)"]


def test_history_is_the_stage_left_last_among_those_listed_else_the_default() -> None:
    definition = compiled(
        AB % "{id: b, from: a, to: b, event: B}, {id: c, from: '*', to: c, event: C}, "
        "{id: back, from: c, to: {history: [a, b], default: b}, event: Back}"
    )
    assert journey(definition, [event("0s", "C"), event("1s", "Back")])[-1].startswith("1: t c>a")
    events = [event("0s", "B"), event("1s", "C"), event("2s", "Back"), event("3s", "C"), event("4s", "Back")]
    assert [each.split()[2] for each in journey(definition, events)] == ["a>b", "b>c", "c>b", "b>c", "c>b"]
    only_b = compiled(
        AB % "{id: c, from: a, to: c, event: C}, {id: back, from: c, to: {history: [b], default: b}, event: Z}"
    )
    assert journey(only_b, [event("0s", "C"), event("1s", "Z")])[-1].startswith("1: t c>b")


def test_entries_are_counted_as_visits_per_stage() -> None:
    definition = compiled(AB % "{id: ab, from: a, to: b, event: X}, {id: ba, from: b, to: a, event: X}")
    state, made = fold(definition, [event(f"{n}s", "X") for n in range(5)], at("1d"))
    assert [(each.to, each.visit) for each in made] == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]
    here = state.track(definition, "t")
    assert (here.visit, here.history) == (3, ("a", "b"))


def test_rules_that_undo_each_other_leave_the_subject_where_it_is_and_are_named() -> None:
    definition = compiled(
        AB % "{id: go, from: a, to: b, when: {always: true}}, {id: back, from: b, to: a, when: {always: true}}"
    )
    state, made = fold(definition, [event("0s", "X"), event("5d", "X")], at("9d"))
    assert told(made) == []
    assert state.track(definition, "t").conflict == ("go", "back", START)
    assert state.next_due_at is None


def test_a_stage_left_by_an_event_is_not_entered_again_in_that_instant_but_a_tick_later() -> None:
    definition = compiled(
        AB % "{id: out, from: a, to: b, event: X}, {id: home, from: b, to: a, when: {did: {event: X}}}"
    )
    state, made = fold(definition, [event("1s", "X")], at("1d"))
    assert told(made) == ["1: t a>b out (X@1s)", "1.001: t b>a home (clock)"]
    assert state.track(definition, "t").conflict is None


def test_a_void_chain_takes_back_its_milestones_and_what_other_tracks_did_for_it() -> None:
    definition = compiled(
        "{t: {initial: a, stages: {a: {}, b: {on_enter: [{milestone: m}]}}, transitions: ["
        "{id: go, from: a, to: b, when: {did: {event: X}}}, "
        "{id: back, from: b, to: a, when: {in_stage: {track: u, stage: d}}}]}, u: {initial: c, "
        "stages: {c: {}, d: {}, e: {}}, transitions: ["
        "{id: follow, from: c, to: d, when: {in_stage: {track: t, stage: b}}}, "
        "{id: seen, from: c, to: e, when: {milestone: m}}]}}"
    )
    state, made = fold(definition, [event("0s", "X")], at("1d"))
    assert told(made) == []
    assert state.milestones == 0
    assert state.track(definition, "t").conflict == ("go", "back", START)
    assert state.track(definition, "u").stage == "c"
    assert state.track(definition, "t").visits == {"a": 1}


def test_a_void_chain_is_asked_again_when_a_condition_of_a_stage_only_thought_of_changes() -> None:
    definition = compiled(
        AB % "{id: go, from: a, to: b, when: {did: {event: X}}}, "
        "{id: back, from: b, to: a, when: {did: {event: Y, within: 3d}}}"
    )
    assert journey(definition, [event("0s", "Y", "1"), event("0s", "X", "2")]) == ["259200: t a>b go (clock)"]


def test_a_reason_is_chosen_at_entry_and_stays() -> None:
    definition = compiled(
        "{t: {initial: a, stages: {a: {}, b: {on_enter: [{milestone: m}], reason: ["
        "{label: late, when: {stage_age: 1d}}, {label: bought, when: {did: {event: Y}}}, "
        "{label: seen, when: {milestone: m}}]}}, "
        "transitions: [{id: r, from: a, to: b, event: X}]}}"
    )
    state, made = fold(definition, [event("0s", "X"), event("1d", "Y")], at("9d"))
    assert made[-1].reason == state.track(definition, "t").reason == "seen"
    made = fold(definition, [event("0s", "Y"), event("1s", "X")], at("9d"))[1]
    assert (made[-1].reason, made[-1].evidence) == ("bought", ("X@1s", "Y@0s"))


def test_present_visit_counts_from_the_entry_instant_on() -> None:
    definition = compiled(
        AB % "{id: in, from: a, to: b, event: X}, {id: out, from: b, to: a, event: Out}, "
        "{id: done, from: b, to: c, when: {count: {event: [X, Y], since: entry, at_least: 2}}}"
    )
    events = [event("0s", "Y"), event("1s", "X"), event("2s", "Out"), event("3s", "X"), event("4s", "Y")]
    assert journey(definition, events)[-1] == "4: t b>c done (Y@4s)"


def test_the_other_answer_of_inactive_is_noticed_when_an_event_comes() -> None:
    definition = compiled(
        AB % "{id: quiet, from: a, to: b, when: {inactive: {event: X, for: 2d}}}, "
        "{id: awake, from: b, to: a, when: {not: {inactive: {event: X, for: 2d}}}}"
    )
    assert journey(definition, [event("0s", "X"), event("5d", "X")], "6d") == [
        "172800: t a>b quiet (clock)",
        "432000: t b>a awake (X@5d)",
    ]


def test_a_window_has_lost_an_event_exactly_when_it_is_as_old_as_the_window() -> None:
    rules = "{id: out, from: b, to: a, when: {did_not: {event: X, within: 2d}}}"
    definition = compiled(AB % ("{id: in, from: a, to: b, event: X}, " + rules))
    assert journey(definition, [event("0s", "X")])[-1] == "172800: t b>a out (clock)"
    assert journey(definition, [event("0s", "X"), event("2d", "X")])[-1] == "345600: t b>a out (clock)"


def test_overdue_follows_the_median_gap_and_leaves_gaps_of_zero_out() -> None:
    definition = compiled(
        AB % "{id: r, from: a, to: b, when: {overdue: {event: X, factor: 1.5, min: 1d, min_gaps: 2}}}"
    )
    days = ["0d", "2d", "2d", "3d"]
    events = [event(day, "X", f"{index}") for index, day in enumerate(days)]
    assert journey(definition, events) == [f"{(3 + 1.5 * 1.5) * 86400:.15g}: t a>b r (clock)"]
    assert journey(definition, events[:3]) == []


def test_days_are_those_of_the_definitions_zone() -> None:
    rule = "{id: r, from: a, to: b, when: {active_days: {event: X, within: 9d, at_least: 2}}}"
    events = [event("22h+30m", "X"), event("23h+30m", "X")]
    assert journey(compiled(AB % rule), events) == []
    assert journey(compiled(AB % rule, "zone: Europe/Paris"), events) == ["84600: t a>b r (X@23h+30m)"]


def test_a_day_to_which_the_clock_is_set_back_is_counted_once() -> None:
    rule = "{id: r, from: a, to: b, when: {active_days: {event: X, at_least: 3}}}"
    definition = compiled(AB % rule, "zone: America/St_Johns")
    times = ["02:00:00", "02:30:30", "02:31:30", "03:40:00"]  # the 6th, the 7th, the 6th again from 02:31, the 7th
    events = [Event(parse_instant(f"2010-11-07T{time}Z"), time, "X") for time in times]
    assert journey(definition, events) == []
    third = Event(parse_instant("2010-11-08T12:00:00Z"), "third", "X")
    assert journey(definition, [*events, third])[0].endswith("t a>b r (third)")


def test_a_list_of_events_is_one_stream_and_groups_can_be_mixed_in() -> None:
    rule = "{id: r, from: a, to: b, when: {count: {event: ['@g', Z], at_least: 3}}}"
    definition = compiled(AB % rule, "event_groups: {g: [X, Y]}")
    assert journey(definition, [event("0s", "X"), event("1s", "Y"), event("2s", "Z")]) == ["2: t a>b r (Z@2s)"]


def test_of_a_trait_the_latest_in_canonical_order_counts_and_null_takes_it_away() -> None:
    definition = compiled(
        AB % "{id: on, from: a, to: b, when: {trait: {name: p, is: pro}}}, "
        "{id: off, from: b, to: a, when: {trait: {name: p, is: {exists: false}}}}"
    )
    events = [
        event("0s", "$identify", p="pro"),
        event("1s", "$identify", q=1),
        event("2s", "$identify", p=None),
        event("3s", "$identify", "b", p="pro"),
        event("3s", "$identify", "a", p="free"),
    ]
    assert [each.split()[2] for each in journey(definition, events)] == ["a>b", "b>a", "a>b"]


def test_a_date_is_the_latest_that_an_event_carries_and_is_reached_to_the_millisecond() -> None:
    definition = compiled(
        AB % "{id: near, from: a, to: b, when: {date: {event: X, property: d, within_next: 2d}}}, "
        "{id: over, from: b, to: c, when: {date: {event: X, property: d, passed: true}}}"
    )
    events = [event("0s", "X", d="2025-01-11"), event("1s", "X", d="no date"), event("2s", "X")]
    assert journey(definition, events) == [f"{8 * 86400}: t a>b near (clock)", f"{10 * 86400}: t b>c over (clock)"]
    moved = event("9d", "X", d="2025-02-01T00:00:00.001Z")
    assert journey(definition, [*events, moved])[-1] == "2678400.001: t b>c over (clock)"


def test_a_stage_of_another_lifecycle_is_a_fact_that_comes_before_the_events_of_its_instant() -> None:
    definition = compiled(
        AB % "{id: r, from: a, to: b, event: X, when: {in_stage: {lifecycle: other, track: stage, stage: [p, q]}}}, "
        "{id: out, from: b, to: c, when: {in_stage: {lifecycle: other, track: stage, stage: q, for: 1d}}}"
    )
    fact = event("5s", "$stage:other", "z", track="stage", stage="p")
    assert definition.touches("$stage:other")
    assert not definition.touches("$stage:else")
    made = fold(definition, [event("5s", "X", "a"), fact], at("1d"))[1]
    assert made[0].cause == "a"
    assert told(made) == ["5: t a>b r (a)"]
    moved = event("9s", "$stage:other", track="stage", stage="q", since=at("1s"))
    other = event("8s", "$stage:other", track="rewards", stage="q")
    assert journey(definition, [event("5s", "X", "a"), fact, other, moved])[-1] == "86401: t b>c out (clock)"


def test_instants_must_ascend_and_due_ones_must_have_been_run() -> None:
    definition = compiled(AB % "{id: r, from: a, to: b, after: 1d}")
    state = State.new(definition)
    assert step(definition, state, at("1s"), []) == []
    step(definition, state, at("1s"), [event("1s", "X")])
    for instant in ("0s", "1s", "2d"):
        with pytest.raises(OutOfOrder, match="An instant lies before"):
            step(definition, state, at(instant), [event(instant, "X")])


def test_the_primary_track_is_the_one_marked_else_the_first() -> None:
    head = "lifecycle: x\nversion: 2\nsubject: account\n"
    for mark, name in (("", "t"), ("primary: true, ", "u")):
        tracks = f"{{t: {{initial: a, stages: {{a: {{}}}}}}, u: {{{mark}initial: a, stages: {{a: {{}}}}}}}}"
        definition = compile_definition(load_definition(f"{head}tracks: {tracks}"))
        assert definition.primary.name == name
        assert (definition.name, definition.version, definition.subject) == ("x", 2, "account")
