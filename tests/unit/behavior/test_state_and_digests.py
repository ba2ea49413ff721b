"""What is remembered: bounded, stored and loaded without loss, refused when it would grow without end."""

import random
from decimal import Decimal
from typing import Any

import pytest

from behavior import Event, StaleState, State, StateOverflow, UnreadableEvent, advance, fold, step
from behavior.digests import MAX_STAMPS
from behavior.events import canonical_order
from schemas.language_types import IDENTIFY
from tests.support.models import MODELS, definition
from tests.support.small_models import START, at, compiled, event, journey

AB = "{t: {initial: a, stages: {a: {}, b: {}}, transitions: [%s]}}"


def rule(condition: str) -> str:
    return AB % f"{{id: r, from: a, to: b, when: {condition}}}"


@pytest.mark.parametrize("name", MODELS)
def test_a_fresh_state_is_stored_and_loaded(name: str) -> None:
    compiled_model = definition(name)
    state = State.new(compiled_model)
    assert state.next_due_at is None
    assert advance(compiled_model, state, START) == []
    again = State.load(compiled_model, state.dump())
    assert again.dump() == state.dump()
    assert step(compiled_model, again, START, [event("0s", "Signed In")])


def test_a_state_of_another_definition_or_no_state_is_refused() -> None:
    state = State.new(definition("default"))
    for stored in (State.new(definition("segments")).dump(), b"", b"\x00", state.dump()[:-1], b'{"a":1}'):
        with pytest.raises(StaleState, match="belongs to another definition"):
            State.load(definition("default"), stored)


def test_what_is_remembered_does_not_grow_with_the_number_of_events() -> None:
    compiled_model = definition("default")
    names = [name for name in compiled_model.plans if name != IDENTIFY]
    sizes = []
    for number in (300, 3_000):
        day = 90 * 86_400_000 // number
        events = [
            Event(
                START + index * 28 * day, f"{index:06d}", names[index % len(names)], properties={"feature": index % 7}
            )
            for index in range(number)
        ]
        sizes.append(len(fold(compiled_model, events, events[-1].at)[0].dump()))
    assert sizes[1] < 1.5 * sizes[0]


@pytest.mark.parametrize(
    "condition",
    [
        "{trend: {event: X, window: 30d, drop_at_least: 0.5}}",
        "{ratio: {numerator: {event: X}, denominator: {event: Y}, within: 30d, at_least: 0.5}}",
        "{sum: {event: X, property: n, within: 30d, at_least: 999999}}",
        "{sum: {event: X, property: n, since: entry, at_least: 999999}}",
    ],
)
def test_more_events_than_can_be_remembered_are_refused_and_not_approximated(condition: str) -> None:
    compiled_model = compiled(rule(condition))
    events = [Event(START + index, f"{index:06d}", "X", properties={"n": 1}) for index in range(MAX_STAMPS + 1)]
    assert fold(compiled_model, events[:-1], at("1d"))[1]
    with pytest.raises(StateOverflow, match="more than 2,000 events"):
        fold(compiled_model, events, at("1d"))
    spread = [Event(START + index * 86_400_000, f"{index:06d}", "X", properties={}) for index in range(MAX_STAMPS + 1)]
    assert fold(compiled_model, spread, at("9999d"))[1]


def test_sums_are_decimal_and_do_not_depend_on_the_order_of_small_and_large() -> None:
    compiled_model = compiled(rule("{sum: {event: X, property: n, within: 9d, at_least: 0.3}}"))
    assert journey(compiled_model, [event("0s", "X", n=0.1), event("1s", "X", n=0.2)])
    large = [event("0s", "X", n=1e15), event("1s", "X", n=0.1), event("2s", "X", n=-1e15)]
    compiled_model = compiled(rule("{all: [{sum: {event: X, property: n, at_least: 0.1, at_most: 0.1}}]}"))
    assert journey(compiled_model, large) == ["2: t a>b r (X@2s)"]


@pytest.mark.parametrize("value", ["12", True, None, [1], {"a": 1}, 1e300, -1e300, 10**400])
def test_what_is_no_number_is_left_out_of_a_sum(value: Any) -> None:
    compiled_model = compiled(rule("{sum: {event: X, property: n, at_least: 1}}"))
    assert journey(compiled_model, [event("0s", "X", n=value)]) == []
    assert journey(compiled_model, [event("0s", "X", n=value), event("1s", "X", n=1)]) == ["1: t a>b r (X@1s)"]


def test_different_values_are_told_apart_by_type_and_equal_numbers_are_one() -> None:
    compiled_model = compiled(rule("{distinct: {event: X, property: p, at_least: 5}}"))
    values: list[Any] = [1, 1.0, "1", True, None, [1], {"a": 1}, "x"]
    events = [event(f"{index}s", "X", p=value) for index, value in enumerate(values)]
    assert journey(compiled_model, events) == []
    assert journey(compiled_model, [*events, event("9s", "X", p=2)]) == ["9: t a>b r (X@9s)"]


@pytest.mark.parametrize(
    ("test", "fitting", "other"),
    [
        ("7", [7, 7.0], ["7", True, None, 8, [7]]),
        ("true", [True], [1, "true", None]),
        ("{ne: 7}", [8, "7", True, [7]], [7, 7.0, None]),
        ("{in: [1, x]}", [1, 1.0, "x"], [True, "1", None, ["x"]]),
        ("{not_in: [1, x]}", [True, "1", 2, []], [1, "x", None]),
        ("{gt: 5}", [5.5, 10**30], [5, "6", True, None, [6]]),
        ("{gte: 5, lt: 9}", [5, 8.9], [9, 4, None]),
        ("{lte: '2025-03'}", ["2025-02-28", ""], ["2025-04", 3, None]),
        ("{prefix: ab}", ["ab", "abc"], ["b", 7, None, ["ab"]]),
        ("{exists: true}", [0, "", False, [], {}], [None]),
        ("{exists: false}", [None], [0, "", False, []]),
        ("{exists: false, ne: 7}", [], [None, 7, 8]),
    ],
)
@pytest.mark.parametrize("kind", ["where", "last"])
def test_a_property_is_tested_by_value_and_type(kind: str, test: str, fitting: list[Any], other: list[Any]) -> None:
    condition = (
        f"{{did: {{event: X, where: {{p: {test}}}}}}}"
        if kind == "where"
        else f"{{last: {{event: X, property: p, is: {test}}}}}"
    )
    compiled_model = compiled(rule(condition))
    for values, expected in ((fitting, 1), (other, 0)):
        for value in values:
            assert len(journey(compiled_model, [event("0s", "X", p=value)])) == expected, value


def test_a_missing_property_fits_only_exists_false() -> None:
    compiled_model = compiled(rule("{did: {event: X, where: {p: {exists: false}}}}"))
    assert journey(compiled_model, [event("0s", "X")])
    assert not journey(compiled(rule("{last: {event: X, property: p, is: {exists: false}}}")), [event("0s", "Y")])


def test_a_long_text_is_kept_as_far_as_a_test_can_tell() -> None:
    compiled_model = compiled(rule(f"{{trait: {{name: p, is: {'x' * 256}}}}}"))
    state, made = fold(compiled_model, [event("0s", "$identify", p="x" * 100_000)], at("1d"))
    assert len(made) == 1
    assert len(state.dump()) < 1_000
    assert len(fold(compiled_model, [event("0s", "$identify", p="x" * 256)], at("1d"))[1]) == 2


def test_an_event_that_no_rule_reads_is_never_decoded() -> None:
    compiled_model = compiled(rule("{all: [{did: {event: X}}, {last: {event: Y, property: p, is: 1}}]}"))
    poison = Event(START, "1", "X", raw=b"\xff{[")
    assert fold(compiled_model, [poison], at("1d"))[0].first_at == START
    with pytest.raises(UnreadableEvent):
        fold(compiled_model, [Event(START, "1", "Y", raw=b"\xff{[")], at("1d"))
    for raw in (b'{"properties": [1]}', b"[" * 100_000, b"null", b'{"properties": {"p": 1}'):
        with pytest.raises(UnreadableEvent, match="not the JSON that the door accepts"):
            Event(START, "1", "Y", raw=raw).content()


def test_properties_and_traits_are_found_in_the_senders_own_json() -> None:
    assert Event(START, "1", "X", raw=b'{"properties": {"a": 1}, "traits": {"a": 2}}').content() == {"a": 1}
    raw = b'{"traits": {"a": 1}, "context": {"traits": {"a": 2, "b": 3}, "ip": "x"}, "properties": {"c": 4}}'
    assert Event(START, "1", IDENTIFY, raw=raw).content() == {"a": 1, "b": 3}
    assert Event(START, "1", IDENTIFY, raw=b'{"context": null}').content() == {}
    assert Event(START, "1", "X").content() == {}


def test_canonical_order_is_instant_then_facts_then_sequence_then_message_id() -> None:
    ordered = [
        Event(1, "z", "$stage:x"),
        Event(1, "a", "X"),
        Event(1, "b", "X"),
        Event(1, "z", "X", -5),
        Event(1, "a", "X", 0),
        Event(1, "b", "X", 0),
        Event(1, "a", "X", 7),
        Event(2, "a", "$stage:x"),
    ]
    assert sorted(random.Random(3).sample(ordered, len(ordered)), key=canonical_order) == ordered


def test_a_repeated_message_id_counts_once_and_the_first_content_stands() -> None:
    compiled_model = compiled(rule("{count: {event: X, at_least: 2}}"))
    assert journey(compiled_model, [event("0s", "X", "1"), event("0s", "X", "1"), event("9s", "X", "1")]) == []


def test_large_sums_survive_storing() -> None:
    compiled_model = compiled(rule("{sum: {event: X, property: n, at_least: 900000000000000}}"))
    events = [Event(START + index, str(index), "X", properties={"n": 3e14}) for index in range(3)]
    state = fold(compiled_model, events[:2], START + 1)[0]
    again = State.load(compiled_model, state.dump())
    assert len(step(compiled_model, again, START + 2, events[2:])) == 1
    assert Decimal(state.slots[0][1]) == Decimal("6e14") * 10**9
