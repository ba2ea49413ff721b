"""What a newcomer would try first: few kinds of events, live purchases, repeats, late news, an imported past."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.times import DAY, HOUR, MINUTE, format_instant, parse_instant
from tests.support.inside import Inside, inside
from tests.support.services import CHECKOUT

DEFINITIONS = CHECKOUT / "definitions"
START = parse_instant("2026-03-02T09:00:00.000Z")

pytestmark = pytest.mark.timeout(60)


def _event(number: int, at: int, name: str, customer: str = "ada", **properties: Any) -> bytes:
    return json.dumps(
        {
            "messageId": f"{customer}-{number}",
            "type": "track",
            "userId": customer,
            "event": name,
            "timestamp": format_instant(at),
            "properties": properties,
        }
    ).encode()


def _identify(at: int, customer: str = "ada") -> bytes:
    traits = {"email": f"{customer}@example.com", "name": "Ada"}
    who = {"messageId": f"{customer}-who", "type": "identify", "userId": customer, "timestamp": format_instant(at)}
    return json.dumps({**who, "traits": traits}).encode()


def _stages(system: Inside, customer: str = "ada") -> list[tuple[str, str, int]]:
    """Transition, stage entered and day since the start, of the standing journey."""
    rows = system.state.rows(
        "stage_engine",
        "SELECT transition, to_stage, effective_at FROM stage_engine_transitions WHERE track = 'stage'"
        f" AND subject = 'user:{customer}' AND superseded_at IS NULL ORDER BY effective_at, ordinal",
    )
    return [(transition, stage, (at - START) // DAY) for transition, stage, at in rows]


def _messages(system: Inside) -> list[tuple[str, str]]:
    query = "SELECT d.subject, d.campaign FROM notifier_messages m JOIN notifier_decisions d USING (decision_id)"
    return sorted((row[0], row[1]) for row in system.state.rows("notifier", query))


async def test_sign_ins_and_orders_alone_make_a_sensible_journey(tmp_path: Path) -> None:
    days = [(0, "Signed In"), (1, "Order Completed"), (4, "Signed In"), (9, "Signed In"), (12, "Order Completed")]
    days += [(20, "Signed In"), (200, "Signed In"), (202, "Signed In"), (204, "Signed In")]
    events = [_event(number, START + day * DAY, name) for number, (day, name) in enumerate(days)]
    async with inside(tmp_path, START + 210 * DAY, DEFINITIONS) as system:
        assert await system.post(events) == 200
        await system.rest()
        await system.silence()
        assert _stages(system) == [
            ("initial", "awareness", 0),
            ("purchase", "adoption", 1),
            ("activated", "retention", 12),
            ("goes_quiet", "at_risk", 50),
            ("lost", "churned", 110),
            ("returns", "won_back", 200),
            ("re_established", "retention", 204),
        ]


async def test_a_live_purchase_is_welcomed_once_even_when_events_come_twice_and_late(tmp_path: Path) -> None:
    seen, bought = _event(1, START - HOUR, "Product Viewed"), _event(2, START, "Order Completed", revenue=42)
    signed_in, identified = _event(3, START + MINUTE, "Signed In"), _identify(START - 2 * MINUTE)
    async with inside(tmp_path, START + MINUTE, DEFINITIONS) as system:
        for events in ([bought], [identified, bought], [signed_in], [seen, bought, identified], [seen]):
            assert await system.post(events) == 200
            await system.silence()
        await system.silence(HOUR)
        await system.silence(2 * DAY)
        assert _messages(system) == [("user:ada", "welcome")]


async def test_a_past_that_is_imported_mails_nobody_and_a_purchase_today_still_does(tmp_path: Path) -> None:
    events = [_identify(START - 700 * DAY), _identify(START - 700 * DAY, "bob")]
    for number in range(40):
        name = "Order Completed" if number % 5 == 1 else "Signed In"
        events.append(_event(number, START - 690 * DAY + number * 12 * DAY, name))
    async with inside(tmp_path, START, DEFINITIONS) as system:
        assert await system.post(events) == 200
        await system.silence()
        assert [stage for _, stage, _ in _stages(system)] == ["awareness", "adoption", "at_risk", "churned"]
        assert _messages(system) == []
        assert await system.post([_event(1, system.clock.now(), "Order Completed", "bob")]) == 200
        await system.silence()
        assert _messages(system) == [("user:bob", "welcome")]
