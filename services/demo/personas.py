"""The kinds of customers in the demonstration: each is written to rest in one stage of `default.yaml` at the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.demo.life import Life

__all__ = ["PERSONAS", "Persona"]

Traits = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Persona:
    """A way of living: the stage it is meant to end in, its share of the population, and what it does.

    `anonymous`: the share of these people who never tell their name.
    """

    name: str
    ends_in: str
    share: float
    live: Callable[[Life, Traits], None]
    anonymous: float = 0.0


def _passer_by(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(0.2, 180)
    life.visit(day, "Home")
    if life.rng.random() < 0.5:
        life.visit(day - 0.02, "Blog")
    if life.rng.random() < 0.3:
        life.track(day - 0.03, "Promotion Viewed", promotion_id="spring")


def _cooled_reader(life: Life, traits: Traits) -> None:
    first = life.rng.uniform(95, 160)
    life.looks_around(first, first - 6, life.rng.randint(2, 4))
    life.identify(first - 6.2, traits)
    life.track(first - 6.1, "Newsletter Subscribed")


def _reader(life: Life, traits: Traits) -> None:
    first = life.rng.uniform(4, 45)
    life.looks_around(first, max(0.3, first - 9), life.rng.randint(2, 6))


def _hesitant(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(17, 40)
    life.looks_around(day + 6, day + 1, 3)
    life.track(day, "Checkout Started", value=89.0)
    life.identify(day - 0.01, traits)


def _shopper(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(0.3, 12)
    life.looks_around(day + life.rng.uniform(3, 20), day + 0.5, life.rng.randint(2, 5))
    life.identify(day + 0.1, traits)
    life.track(day, life.rng.choice(("Checkout Started", "Trial Started", "Quote Requested", "Product Added")))


def _newcomer(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(0.4, 6)
    life.becomes_customer(day, traits)
    life.track(day * 0.9, "Setup Started")
    life.searches_help(day * 0.85, life.rng.randint(1, 3) if day > 1 else 1)
    life.uses(day * 0.4, "planner")


def _settles_in(life: Life, traits: Traits, day: float) -> None:
    life.becomes_customer(day, traits)
    life.sets_up(day - 0.4)


def _regular(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(25, 160)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, life.rng.uniform(0.1, 2.5))
    if life.rng.random() < 0.5:
        life.joins_rewards(day - 5, 1)
    if life.rng.random() < 0.4:
        life.buys(life.rng.uniform(1, day - 8))


def _took_a_break(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(130, 165)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, day - 30)
    back = day - life.rng.uniform(70, 85)
    life.uses_regularly(back, life.rng.uniform(0.2, 2))


def _grower(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(40, 165)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, life.rng.uniform(0.1, 2.5))
    more = life.rng.uniform(2, min(80, day - 10))
    event = life.rng.choice(("Subscription Upgraded", "Seats Added", "Add-on Purchased"))
    life.track(more, event, quantity=life.rng.randint(1, 4))
    if life.rng.random() < 0.4:
        life.joins_rewards(day - 5, 1)


def _advocate(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(60, 165)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, life.rng.uniform(0.1, 2.5))
    if life.rng.random() < 0.4:
        life.track(life.rng.uniform(day - 20, day - 10), "Seats Added", quantity=2)
    spoke = life.rng.uniform(3, day - 22)
    life.track(spoke + 1, "Referral Sent", code="FRIEND10")
    if life.rng.random() < 0.6:
        life.track(spoke, "Referral Converted", code="FRIEND10")
    else:
        life.track(spoke, "Review Published", site="Rated")
        life.track(spoke - 0.5, "Product Shared", share_via="message")
    for _ in range(life.rng.randint(0, 4)):
        life.buys(life.rng.uniform(1, day - 8))
    life.joins_rewards(day - 5, 1)


def _struggler(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(4, 40)
    life.becomes_customer(day, traits)
    life.track(day - 0.2, "Setup Started")
    life.track(day - 0.3, "Setup Failed", step="pairing", code="E42")
    life.searches_help(day - 0.4, life.rng.randint(6, 8))
    life.track(day - 2.6, "Support Ticket Created", priority="high")


def _fader(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(110, 160)
    _settles_in(life, traits, day)
    last = life.rng.uniform(36, 62)
    life.uses_regularly(day - 6, last)
    if life.rng.random() < 0.3:
        life.track(last - 1, "Payment Failed", amount=9.0)


def _offline_fader(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(120, 160)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, 62)
    for days_ago in (58.5, 55, 51.5, 48):  # on a phone that was offline: arrives after everything else
        life.uses(days_ago, late=True)


def _cancelled(life: Life, traits: Traits) -> None:
    left = life.rng.uniform(3, 80)
    day = left + life.rng.uniform(30, 80)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, left + 2)
    reason = life.rng.choice(("price", "price", "competitor", "other"))
    life.track(left, "Subscription Cancelled", reason=reason)


def _faded_away(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(155, 168)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, life.rng.uniform(100, 125))
    if life.rng.random() < 0.7:
        life.joins_rewards(day - 5, 126)


def _returner(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(130, 165)
    _settles_in(life, traits, day)
    left = life.rng.uniform(50, 85)
    life.uses_regularly(day - 6, left + 3)
    life.track(left, "Subscription Cancelled", reason="price")
    back = life.rng.uniform(0.5, 8)
    life.track(back + 0.05, "Campaign Clicked", utm_campaign="come-back")
    life.buys(back)
    life.track(back * 0.6, "Signed In")


def _returned_for_good(life: Life, traits: Traits) -> None:
    day = life.rng.uniform(140, 165)
    _settles_in(life, traits, day)
    life.uses_regularly(day - 6, 100)
    life.track(98, "Subscription Cancelled", reason="other")
    life.buys(60)
    life.uses_regularly(58, life.rng.uniform(0.2, 2))


PERSONAS: tuple[Persona, ...] = (
    Persona("passer-by", "awareness", 0.12, _passer_by, anonymous=0.7),
    Persona("reader", "consideration", 0.10, _reader, anonymous=0.4),
    Persona("shopper", "decision", 0.08, _shopper),
    Persona("newcomer", "adoption", 0.07, _newcomer),
    Persona("regular", "retention", 0.16, _regular),
    Persona("grower", "expansion", 0.08, _grower),
    Persona("advocate", "advocacy", 0.08, _advocate),
    Persona("struggler", "at_risk", 0.05, _struggler),
    Persona("cancelled", "churned", 0.06, _cancelled),
    Persona("returner", "won_back", 0.04, _returner),
    Persona("cooled reader", "awareness", 0.03, _cooled_reader),
    Persona("hesitant", "consideration", 0.03, _hesitant),
    Persona("took a break", "retention", 0.02, _took_a_break),
    Persona("returned for good", "retention", 0.02, _returned_for_good),
    Persona("fader", "at_risk", 0.03, _fader),
    Persona("offline fader", "at_risk", 0.01, _offline_fader),
    Persona("faded away", "churned", 0.02, _faded_away),
)
"""The first ten end in ten different stages, so that even ten customers occupy them all."""
