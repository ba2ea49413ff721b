"""CloudEvents through a whole system: whatever way an event comes, and however often, it has one effect."""

from typing import Any

import pytest

from schemas.times import format_instant
from tests.integration.ingest.native_serving import EVENT
from tests.integration.runtime.test_running_system import START, Client, Shape, shape
from tests.support.fresh_systems import verified

__all__ = ["shape"]

CALL = {"type": "track", "userId": "ada", "event": "Signed In", "messageId": "m1", "timestamp": format_instant(START)}
ORDER = {**EVENT, "time": format_instant(START)}
SAME = {**ORDER, "source": "/sources/default", "id": "m1", "type": "parcours.track", "data": CALL}


async def send(client: Client, event: dict[str, Any], **headers: str) -> str:
    """Send an event; what became of it."""
    named = {"Content-Type": "application/cloudevents+json", **headers}
    answer = await client.http.post("/v1/events", json=event, headers=named, auth=("wk", ""))
    assert answer.status_code == 202, answer.text
    (receipt,) = answer.json()["events"]
    return str(receipt["status"])


async def activity(client: Client) -> dict[str, list[str]]:
    """The flags of each stored event of the customer, by message id."""
    await client.until_read()
    answer = await client.http.get("/v1/customers/ada/activity", headers={"Authorization": "Bearer pt"})
    return {each["message_id"]: each["flags"] for each in answer.json()["events"]}


@pytest.mark.timeout(90)
async def test_an_event_has_one_effect_whatever_way_it_comes_and_the_first_content_stands(shape: Shape) -> None:
    order = "https://shop.example/orders#42"
    async with shape.running() as client:
        assert (await client.http.post("/v1/track", json=CALL, auth=("wk", ""))).status_code == 200
        assert await send(client, SAME) == "accepted"
        assert await send(client, ORDER) == "accepted"
        assert await send(client, ORDER) == "duplicate"
        kept = await client.http.post("/v1/events", json=ORDER, headers={"Idempotency-Key": "k"}, auth=("wk", ""))
        await client.until_stage("ada", "adoption")
        assert await activity(client) == {"m1": [], order: []}
    async with shape.running() as client:
        # The window of the door begins anew with its process; the engines forget nothing, nor does the database.
        assert await send(client, {**ORDER, "data": {"revenue": 43}}) == "accepted"
        assert await activity(client) == {"m1": [], order: ["duplicate_id_conflict"]}
        again = await client.http.post("/v1/events", json=ORDER, headers={"Idempotency-Key": "k"}, auth=("wk", ""))
        assert (again.content, again.headers["idempotency-replayed"]) == (kept.content, "true")
        metrics = (await client.http.get("/metrics")).text
    assert 'parcours_duplicate_id_conflicts_total{processor="stage_engine"} 1' in metrics
    assert 'parcours_events_duplicate_total{content="same"} 0' in metrics
    findings = await verified(shape.settings)
    assert findings.violations == []
    assert findings.counts["accepted events"] == 4
