"""The tracking plan: what is flagged, what a strict source may not send, and that hostile senders fill no memory."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.domain.checks import MAX_ITEMS
from ingest.domain.plan import TrackingPlan
from ingest.domain.seen import MAX_NAMES, OTHER, Seen, Sighting
from ingest.errors import Unacceptable
from ingest.ports import Source
from schemas.catalog import Catalog, join_files, read_catalog_file
from schemas.times import InvalidTime, parse_instant

CATALOG = join_files(
    [
        read_catalog_file("""
catalog: things
events:
  Thing Bought:
    phase: post
    used_for: [tests]
    aliases: [buy_thing]
    description: {en: Someone bought it., fr: Quelqu'un l'a acheté.}
    required: [order, amount]
    properties:
      order: {type: [string, integer]}
      amount: {type: number, minimum: 0, maximum: 1000}
      count: {type: integer}
      few: {type: integer, minimum: 1}
      gift: {type: boolean}
      currency: {type: string, maxLength: 3}
      color: {type: [string, integer, boolean], enum: [red, 1, true, 2.5]}
      due: {type: string, format: date-time}
      tags: {type: array, items: {type: string}}
      size: {type: object, required: [width], properties: {width: {type: number}, unit: {type: string}}}
      items:
        type: array
        items:
          type: object
          required: [sku]
          properties: {sku: {type: string}, price: {type: number}, n: {type: integer}}
  Thing Seen:
    phase: pre
    used_for: [tests]
    description: {en: Someone saw it., fr: Quelqu'un l'a vu.}
""")
    ]
)
OPEN, WARN, STRICT = (Source("default", "shop", mode) for mode in ("open", "warn", "strict"))
GOOD: dict[str, Any] = {"order": "o-1", "amount": 12}


def plan_of(catalog: Catalog = CATALOG) -> tuple[TrackingPlan, Seen]:
    seen = Seen(frozenset((*catalog.entries, *catalog.aliases)))
    return TrackingPlan(catalog, seen), seen


def judged(plan: TrackingPlan, source: Source, properties: Any, name: str = "Thing Bought") -> tuple[str, ...] | str:
    """The flags of an event, or why it is unacceptable."""
    try:
        return plan.check(source, name, {"properties": properties}, 1)
    except Unacceptable as reason:
        return f"{reason.code} {reason.detail}"


@pytest.mark.parametrize("name", ["Thing Bought", "buy_thing"])
def test_what_is_as_described_gets_no_flag_under_any_of_its_names(name: str) -> None:
    plan, _ = plan_of()
    for source in (OPEN, WARN, STRICT):
        assert judged(plan, source, {**GOOD, "more": {"is": ["welcome"]}}, name) == ()


@pytest.mark.parametrize("name", ["$identify", "$group", "$alias", "Page Viewed", "Screen Viewed"])
def test_the_calls_that_name_no_event_are_known_without_a_catalog_entry(name: str) -> None:
    assert plan_of()[0].check(STRICT, name, {"traits": {"plan": 1}}, 1) == ()


def test_an_event_without_properties_is_looked_at_too() -> None:
    plan, _ = plan_of()
    events: list[dict[str, Any]] = [{}, {"properties": None}, {"properties": {}}]
    for event in events:
        assert plan.check(STRICT, "Thing Seen", event, 1) == ()
        assert plan.check(OPEN, "Thing Bought", event, 1) == ("invalid_event",)


def test_an_unknown_event_is_flagged_and_from_a_strict_source_kept_apart() -> None:
    plan, seen = plan_of()
    assert judged(plan, OPEN, {}, "thing bought") == ("unknown_event",)
    assert seen.warned == set()
    assert judged(plan, WARN, {}, "thing bought") == ("unknown_event",)
    assert seen.warned == {("default", "shop")}
    assert seen.flags == {"unknown_event": 2}
    refused = judged(plan, STRICT, {}, "thing bought")
    assert str(refused).startswith("unknown_event The source is strict")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"amount": 1}, "/properties/order: This is missing."),
    "required and null": ({"order": None, "amount": 1}, "/properties/order: This is missing."),
    "of another type": ({**GOOD, "gift": "yes"}, "/properties/gift: This must be true or false."),
    "true for a number": ({**GOOD, "amount": True}, "/properties/amount: This must be a number."),
    "too small": ({**GOOD, "amount": -1}, "/properties/amount: This must be at least 0 and at most 1000."),
    "no whole number": ({**GOOD, "count": 1.5}, "/properties/count: This must be a whole number."),
    "too long": ({**GOOD, "currency": "EURO"}, "/properties/currency: This may have 3 characters."),
    "none of the values": ({**GOOD, "color": "blue"}, "/properties/color: This must be one of red, 1, True, 2.5."),
    "no time": ({**GOOD, "due": "soon"}, "/properties/due: The time is not RFC 3339. Send for example"),
    "in a list": ({**GOOD, "tags": ["a", 1]}, "/properties/tags/1: This must be text."),
    "in an object": ({**GOOD, "size": {"unit": "m"}}, "/properties/size/width: This is missing."),
    "in an object of a list": (
        {**GOOD, "items": [{"sku": "a"}, {"sku": "b", "price": []}]},
        "/properties/items/1/price: This must be a number.",
    ),
    "no object in a list": ({**GOOD, "items": ["a"]}, "/properties/items/0: This must be an object."),
}


@pytest.mark.parametrize(("properties", "said"), WRONG.values(), ids=WRONG)
def test_what_is_not_as_described_is_flagged_and_a_strict_source_is_told_where(
    properties: dict[str, Any], said: str
) -> None:
    plan, seen = plan_of()
    assert judged(plan, OPEN, properties) == ("invalid_event",)
    assert seen.warned == set()
    assert judged(plan, WARN, properties) == ("invalid_event",)
    assert seen.warned == {("default", "shop")}
    assert str(judged(plan, STRICT, properties)).startswith(f"invalid_event {said}")


def test_null_counts_as_left_out() -> None:
    plan, _ = plan_of()
    nothing = dict.fromkeys(CATALOG.entries["Thing Bought"].event.properties)
    assert judged(plan, STRICT, nothing | GOOD) == ()


def test_a_number_sent_as_text_is_minded_only_by_a_strict_source() -> None:
    plan, _ = plan_of()
    sent = {"order": "o-1", "amount": "12.50", "count": "3", "items": [{"sku": "a", "price": "1"}]}
    assert judged(plan, OPEN, sent) == ()
    assert judged(plan, WARN, sent) == ()
    assert str(judged(plan, STRICT, sent)).startswith("invalid_event /properties/amount")
    for wrong in ("a lot", "1e9", "", " 1", "1001", "١", "9" * 400):
        assert judged(plan, OPEN, {**sent, "amount": wrong}) == ("invalid_event",)


def test_what_passed_once_says_nothing_of_the_next_value() -> None:
    plan, _ = plan_of()
    for good, bad in ((3.0, 3.5), ("3", "many")):
        for _ in range(2):
            assert judged(plan, OPEN, {**GOOD, "count": good}) == ()
            assert judged(plan, OPEN, {**GOOD, "count": bad}) == ("invalid_event",)
            assert judged(plan, OPEN, {**GOOD, "items": [{"sku": "a", "n": good}]}) == ()
            assert judged(plan, OPEN, {**GOOD, "items": [{"sku": "a", "n": bad}]}) == ("invalid_event",)


def test_only_the_first_items_of_a_long_list_are_looked_at() -> None:
    plan, _ = plan_of()
    tags = ["a"] * MAX_ITEMS
    assert judged(plan, STRICT, {**GOOD, "tags": [*tags, 1]}) == ()
    assert judged(plan, OPEN, {**GOOD, "tags": [*tags[1:], 1]}) == ("invalid_event",)


def test_an_empty_catalog_flags_nothing_but_a_strict_source_may_send_nothing() -> None:
    plan, _ = plan_of(Catalog({}))
    assert judged(plan, OPEN, {}) == ()
    assert judged(plan, WARN, {}) == ()
    assert str(judged(plan, STRICT, {})).startswith("unknown_event")


_checker = jsonschema.FormatChecker(formats=())


@_checker.checks("date-time", raises=InvalidTime)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or parse_instant(value) >= 0


_validator = jsonschema.Draft202012Validator(CATALOG.entries["Thing Bought"].as_schema(), format_checker=_checker)
_plan = plan_of()[0]
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.0, 2.5, -0.5, 1e300, 1000, 1001, 10**30]),
    st.sampled_from(["", "red", "EUR", "EURO", "12", "2026-11-03", "2026-11-03T10:00:00Z", "2026-02-30"]),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["sku", "price", "n", "width", "unit", "else"]), inner, max_size=4),
    ),
    max_leaves=6,
)
_names = st.sampled_from([*CATALOG.entries["Thing Bought"].event.properties, "other"])


@settings(deadline=None, derandomize=True, max_examples=600)
@given(st.dictionaries(_names, _values, max_size=6), st.booleans())
def test_the_compiled_checks_judge_as_a_validator_of_the_served_schema(sent: dict[str, Any], whole: bool) -> None:
    properties = {**GOOD, **sent} if whole else sent
    expected = _validator.is_valid(properties)
    assert (judged(_plan, STRICT, properties) == ()) is expected
    if expected:
        assert judged(_plan, OPEN, properties) == ()


def test_ever_new_properties_fill_no_memory() -> None:
    plan, _ = plan_of()
    for number in range(1_000):
        assert judged(plan, OPEN, {**GOOD, f"p{number}": 1}) == ()
        assert judged(plan, OPEN, {**GOOD, "x" * 1_000: number}) == ()
    shape = plan._shapes["Thing Bought"]
    assert shape is not None
    assert len(shape.passed) <= 16


def test_events_are_counted_by_source_and_name_with_their_first_and_last_time() -> None:
    plan, seen = plan_of()
    for at in (5, 9, 7):
        plan.check(OPEN, "Thing Seen", {}, at)
    plan.check(OPEN._replace(name="app"), "Thing Seen", {}, 3)
    plan.check(OPEN, "buy_thing", {}, 4)
    assert seen.take() == [
        Sighting("default", "shop", "Thing Seen", 3, 5, 9, 0),
        Sighting("default", "app", "Thing Seen", 1, 3, 3, 0),
        Sighting("default", "shop", "buy_thing", 1, 4, 4, 1),
    ]
    assert seen.take() == []
    plan.check(OPEN, "buy_thing", {"properties": GOOD}, 2)
    assert seen.take() == [Sighting("default", "shop", "buy_thing", 1, 2, 2, 0)]


def test_what_a_strict_source_may_not_send_is_not_counted() -> None:
    plan, seen = plan_of()
    judged(plan, STRICT, {}, "thing bought")
    judged(plan, STRICT, {})
    assert seen.take() == []


def test_what_could_not_be_written_down_is_counted_again() -> None:
    plan, seen = plan_of()
    plan.check(OPEN, "Thing Seen", {}, 5)
    taken = seen.take()
    plan.check(OPEN, "Thing Seen", {}, 9)
    seen.give_back(taken)
    assert seen.take() == [Sighting("default", "shop", "Thing Seen", 2, 5, 9, 0)]
    seen.give_back(taken)
    assert seen.take() == taken


def test_ever_new_names_are_counted_together_and_known_ones_still_by_themselves() -> None:
    plan, seen = plan_of()
    for _ in range(3):
        for number in range(MAX_NAMES + 500):
            plan.check(OPEN, f"Noise {number}", {}, number)
        seen.take()
    assert len(seen.counters) == MAX_NAMES + 1
    plan.check(OPEN, "Thing Seen", {}, 8)
    plan.check(OPEN, "One More", {}, 9)
    plan.check(Source("other", "shop"), "One More", {}, 9)
    assert seen.take() == [
        Sighting("default", "shop", OTHER, 1, 9, 9, 1),
        Sighting("default", "shop", "Thing Seen", 1, 8, 8, 0),
        Sighting("other", "shop", "One More", 1, 9, 9, 1),
    ]
