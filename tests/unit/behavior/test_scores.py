"""Scores are exact: the same digits in any replay, crossings to the millisecond."""

import random
from decimal import Decimal, localcontext

import pytest

from behavior.scores import Decay, Threshold
from schemas.times import DAY, HOUR
from tests.support.small_models import START, compiled, event, journey


def exact(terms: list[tuple[int, Decimal]], half_life: int, instant: int) -> Decimal:
    with localcontext(prec=60):
        rate = Decimal(2).ln() / half_life
        return sum((weight * (rate * (at - instant)).exp() for at, weight in terms), Decimal(0))


@pytest.mark.parametrize("half_life", [HOUR, 7 * DAY, 14 * DAY, 90 * DAY, 3_333_333])
def test_values_and_crossings_agree_with_sixty_digits(half_life: int) -> None:
    dice = random.Random(half_life)
    decay = Decay(half_life)
    for _ in range(40):
        terms: list[tuple[int, Decimal]] = []
        kept = None
        instant = START
        for number in range(dice.randrange(1, 25)):
            instant += dice.choice([0, 1, dice.randrange(HOUR), dice.randrange(3 * half_life), 70 * half_life])
            weight = Decimal(dice.choice(["2", "15", "0.5", "-4", "7.25"]))
            terms.append((instant, weight))
            kept = decay.add(kept, weight.as_integer_ratio(), instant, str(number))
        later = instant + dice.randrange(5 * half_life)
        assert abs(decay.value(kept, later, Decimal(10**9)) - max(Decimal(0), exact(terms, half_life, later))) < 1e-8
        wanted = Decimal(dice.choice(["0.01", "1", "12", "20"]))
        line = Threshold(decay, wanted)
        assert line.reached(kept, instant) == (exact(terms, half_life, instant) >= wanted - Decimal("1e-11"))
        if kept is not None and line.reached(kept, instant):
            crossing = line.falls_below(kept, instant)
            assert exact(terms, half_life, crossing) < wanted
            assert exact(terms, half_life, crossing - 1) >= wanted - Decimal("1e-11")


def test_the_value_shown_lies_between_zero_and_the_cap() -> None:
    decay = Decay(DAY)
    assert decay.value(None, START, Decimal(5)) == 0
    assert decay.value(decay.add(None, (9, 1), START, "1"), START, Decimal(5)) == 5
    assert decay.value(decay.add(None, (-9, 1), START, "1"), START, Decimal(5)) == 0
    assert decay.value(decay.add(None, (9, 1), START, "1"), START + 10_000 * DAY, Decimal(5)) == 0


def test_weights_that_add_up_to_a_threshold_reach_it() -> None:
    decay = Decay(14 * DAY)
    dice = random.Random(1)
    for _ in range(200):
        instant = START + dice.randrange(1000 * DAY)
        kept = decay.add(decay.add(None, (15, 1), instant, "1"), (15, 1), instant, "2")
        assert Threshold(decay, Decimal(30)).reached(kept, instant)
        assert Threshold(decay, Decimal(30)).falls_below(kept, instant) == instant + 1


def test_an_event_counts_half_after_one_half_life_to_the_millisecond() -> None:
    head = "scores: {s: {half_life: 1d, cap: 100, weights: {X: 8}}}"
    rules = "{id: up, from: a, to: b, when: {score: {name: s, at_least: 8}}}, "
    rules += "{id: down, from: b, to: c, when: {score: {name: s, below: 4}}}"
    definition = compiled(f"{{t: {{initial: a, stages: {{a: {{}}, b: {{}}, c: {{}}}}, transitions: [{rules}]}}}}", head)
    assert journey(definition, [event("0s", "X")]) == ["0: t a>b up (X@0s)", "86400.001: t b>c down (clock)"]


def test_negative_weights_lower_a_score_at_once() -> None:
    head = "scores: {s: {half_life: 9d, cap: 100, weights: {X: 8, Y: -6}}}"
    rules = "{id: up, from: a, to: b, when: {score: {name: s, at_least: 5}}}, "
    rules += "{id: down, from: b, to: a, when: {score: {name: s, below: 3}}}"
    definition = compiled(f"{{t: {{initial: a, stages: {{a: {{}}, b: {{}}}}, transitions: [{rules}]}}}}", head)
    events = [event("0s", "X"), event("1s", "Y"), event("2s", "Y"), event("3s", "X")]
    assert [each.split(": ")[1][:5] for each in journey(definition, events, "4s")] == ["t a>b", "t b>a"]
