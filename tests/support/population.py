"""A seeded population for tests that break things: lives long and short, late news, repeats, accounts, fresh buyers.

The same seed, size and instant give the same events, byte for byte.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.ids import account_subject, anonymous_subject, user_subject
from schemas.times import DAY, HOUR, MINUTE, format_instant

__all__ = ["FRESH_PREFIX", "Population", "populate"]

FRESH_PREFIX = "fresh-"
"""Ids of customers who bought for the first time within the last day: their welcome is due now."""

_SECOND = 1_000
_FEATURES = ("reports", "exports", "alerts", "sharing")
_BEFORE = (
    ("Page Viewed", 5),
    ("Product Viewed", 4),
    ("Pricing Viewed", 2),
    ("Review Read", 1),
    ("Checkout Started", 2),
)
_AFTER = (
    ("Signed In", 10), ("Feature Used", 10), ("Help Searched", 3), ("Help Article Viewed", 2), ("Setup Completed", 2),
    ("Order Completed", 3), ("Add-on Purchased", 1), ("Referral Converted", 1), ("Review Published", 1),
    ("Support Ticket Created", 1), ("Payment Failed", 1), ("Subscription Cancelled", 1), ("Loyalty Enrolled", 2),
    ("Points Earned", 4), ("Reward Redeemed", 1), ("Email Delivered", 3), ("Email Link Clicked", 1),
    ("Trial Started", 1), ("Integration Connected", 1), ("Workflow Run", 2), ("Subscription Started", 1),
    ("Something Unknown", 2),
)  # fmt: skip


@dataclass(frozen=True)
class Population:
    """`lines` are the events as JSON, in the order in which they are to be posted, repeats included.

    `stored` says what must be in the activity at the end: message ids by subject, the accounts' copies among them.
    `subjects_of` names, by message id, the subjects that an event belongs to.
    """

    seed: int
    lines: tuple[bytes, ...]
    ids: tuple[str, ...]
    stored: Mapping[str, frozenset[str]]
    subjects_of: Mapping[str, tuple[str, ...]] = field(repr=False)


def populate(seed: int, customers: int, now: int) -> Population:
    """A population whose events all lie before `now` (ms)."""
    rng = random.Random(f"population {seed}")
    events: list[tuple[int, dict[str, Any]]] = []
    for number in range(customers):
        kind = rng.random()
        if kind < 0.12:
            events.extend(_fresh(rng, f"{FRESH_PREFIX}{number}", now))
        elif kind < 0.2:
            events.extend(_visitor(rng, f"visitor-{number}", now))
        else:
            events.extend(_life(rng, f"customer-{number}", now))
    events.sort(key=lambda each: each[0])
    for number, (at, event) in enumerate(events):
        event["messageId"] = f"m{seed}-{number:06d}"
        event["timestamp"] = format_instant(at)
    ordered = _disturbed(rng, [event for _, event in events])
    subjects_of = {event["messageId"]: _subjects(event) for _, event in events}
    stored: dict[str, set[str]] = {}
    for message_id, subjects in subjects_of.items():
        for subject in subjects:
            stored.setdefault(subject, set()).add(message_id)
    return Population(
        seed,
        tuple(json.dumps(event, separators=(",", ":")).encode() for event in ordered),
        tuple(event["messageId"] for event in ordered),
        {subject: frozenset(found) for subject, found in stored.items()},
        subjects_of,
    )


def _subjects(event: Mapping[str, Any]) -> tuple[str, ...]:
    own = user_subject(event["userId"]) if "userId" in event else anonymous_subject(event["anonymousId"])
    group = event.get("context", {}).get("groupId")
    return (own,) if group is None else (own, account_subject(group))


def _disturbed(rng: random.Random, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with some of them late, by a little or by very much, and some delivered twice.

    Fresh buyers come all along, not only at the end: their messages are due while everything else flows.
    """
    places: list[tuple[float, int, dict[str, Any]]] = []
    fresh: dict[str, float] = {}
    for number, event in enumerate(events):
        who = event.get("userId", "")
        place = float(number)
        if who.startswith(FRESH_PREFIX):
            place = fresh[who] = fresh.get(who, rng.uniform(0, len(events))) + rng.uniform(0, 5)
        elif rng.random() < 0.06:
            place = rng.uniform(number, len(events)) if rng.random() < 0.3 else number + rng.uniform(1, 80)
        places.append((place, number, event))
        if rng.random() < 0.05:
            places.append((rng.uniform(place, len(events)), number, event))
    return [event for _, _, event in sorted(places, key=lambda each: each[:2])]


def _track(name: str, who: Mapping[str, str], **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": name, **who, "properties": properties}


def _identify(rng: random.Random, customer: str) -> dict[str, Any]:
    traits = {
        "email": f"{customer}@example.com",
        "plan": rng.choice(("free", "pro")),
        "locale": rng.choice(("en", "fr")),
    }
    return {"type": "identify", "userId": customer, "traits": traits}


def _fresh(rng: random.Random, customer: str, now: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Somebody who came, looked and bought within the last twenty hours."""
    who = {"userId": customer}
    bought = now - rng.randrange(30 * MINUTE, 12 * HOUR)
    yield bought - rng.randrange(2 * HOUR, 7 * HOUR), _identify(rng, customer)
    yield bought - rng.randrange(MINUTE, 2 * HOUR), _track("Product Viewed", who, sku=f"sku-{rng.randrange(50)}")
    yield bought, _track("Order Completed", who, order_id=f"order-{customer}", revenue=rng.randrange(5, 300))
    yield bought + rng.randrange(1, 20 * MINUTE), _track("Signed In", who)


def _visitor(rng: random.Random, visitor: str, now: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Somebody without a name, who looks around and may ask for more."""
    at = now - rng.randrange(2 * DAY, 90 * DAY)
    for _ in range(rng.randrange(2, 12)):
        yield at, _track(_drawn(rng, _BEFORE), {"anonymousId": visitor})
        at += rng.randrange(_SECOND, 8 * DAY)
        if at >= now - HOUR:
            return


def _life(rng: random.Random, customer: str, now: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Somebody who comes, perhaps buys, uses it for a while, falls silent, perhaps returns."""
    who = {"userId": customer}
    account = f"account-{rng.randrange(25)}" if rng.random() < 0.4 else None
    at = now - rng.randrange(20 * DAY, 230 * DAY)
    if rng.random() < 0.8:
        yield at + rng.randrange(DAY), _identify(rng, customer)
    bought = False
    for _ in range(rng.randrange(8, 70)):
        name = _drawn(rng, _AFTER if bought else _BEFORE)
        if not bought and rng.random() < 0.25:
            name, bought = "Order Completed", True
        event = _track(name, who, **_properties(rng, name, at))
        if account is not None and rng.random() < 0.5:
            event["context"] = {"groupId": account}
        yield at, event
        at += _gap(rng)
        if at >= now - 25 * HOUR:
            return


def _gap(rng: random.Random) -> int:
    """Milliseconds to the next event: now and then none at all, a multiple of a day, or a long silence."""
    kind = rng.random()
    if kind < 0.04:
        return 0
    if kind < 0.12:
        return rng.randrange(1, 8) * DAY
    if kind < 0.18:
        return rng.randrange(20 * DAY, 80 * DAY)
    return rng.randrange(_SECOND, 5 * DAY)


def _properties(rng: random.Random, name: str, at: int) -> dict[str, Any]:
    if name == "Feature Used":
        return {"feature": rng.choice(_FEATURES)}
    if name == "Order Completed":
        return {"order_id": f"order-{rng.randrange(10**9)}", "revenue": rng.randrange(100, 90_000) / 100}
    if name == "Subscription Cancelled":
        return {"reason": rng.choice(("price", "competitor", "other"))}
    if name == "Trial Started":
        return {"trial_end_date": format_instant(at + 14 * DAY)}
    if name in ("Integration Connected", "Workflow Run"):
        return {"feature": rng.choice(_FEATURES)}
    if name == "Subscription Started":
        return {"renewal_date": format_instant(at + 90 * DAY), "plan": "pro"}
    return {}


def _drawn(rng: random.Random, weighted: tuple[tuple[str, int], ...]) -> str:
    names, weights = zip(*weighted, strict=True)
    return str(rng.choices(names, weights)[0])
