"""GET /v1/catalog...: what events there are, and which of those that lifecycles wait for come."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from schemas.times import DAY, MINUTE, format_instant, parse_instant
from services.bootstrap import Replacements, make_container, migrate
from services.event_catalog import load_catalog
from services.processes.system import running_system
from services.runtime.clock import ManualClock
from services.settings import Settings
from services.web.create import Web, create_app
from tests.contract.test_catalog import SHIPPED

NOW = parse_instant("2026-11-03T10:00:00.000Z")
TOKEN, WRITE_KEY = "pt_catalog_tests", "wk_catalog_tests"
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Served(NamedTuple):
    """The application, a client of it, and its clock."""

    web: Web
    client: httpx.AsyncClient
    clock: ManualClock

    async def track(self, *names: str, **properties: Any) -> None:
        """Send events, and let them be written down."""
        batch = [{"type": "track", "userId": "ada", "event": name, "properties": properties} for name in names]
        answer = await self.client.post("/v1/batch", json={"batch": batch}, auth=(WRITE_KEY, ""))
        assert answer.json() == {"success": True}
        await self.web.seen.flush()

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        """What an address answers."""
        answer = await self.client.get(path, headers=BEARER | headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def expected(self, name: str, stage: str = "decision") -> dict[str, Any]:
        """What the coverage says of an event that a stage of the default lifecycle waits for."""
        (lifecycle,) = (await self.get("/v1/catalog/coverage"))["lifecycles"]
        stages = {each["stage"]: each["events"] for each in lifecycle["tracks"][0]["stages"]}
        found: dict[str, Any] = next(each for each in stages[stage] if each["name"] == name)
        return found


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """The application; nothing behind it runs."""
    clock = ManualClock(NOW)
    settings = Settings(data_dir=tmp_path, definitions_dir=SHIPPED, write_key=WRITE_KEY, api_token=TOKEN)
    container = make_container(settings, Replacements(clock=clock))
    await container.log.start()
    await migrate(container)
    web = await create_app(container, address="http://parcours.test", health=tuple)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(web.app), base_url="http://parcours.test") as client:
        yield Served(web, client, clock)
    await container.log.close()
    container.close()


async def test_the_catalog_lists_every_event_with_its_schema_its_example_and_its_marks(served: Served) -> None:
    listed = (await served.get("/v1/catalog"))["events"]
    assert [each["name"] for each in listed] == list(load_catalog(SHIPPED).entries)
    (reviewed,) = (each for each in listed if each["name"] == "Product Reviewed")
    assert reviewed["sentiment"] == ["/review_body", "/rating"]
    assert reviewed["json_schema"]["properties"]["rating"] == {"type": ["number", "null"], "sentiment": True}
    assert reviewed["description"].keys() == {"en", "fr"}
    assert (reviewed["spec"], reviewed["phase"], reviewed["group"]) == ("ecommerce", "post", "commerce")


async def test_the_catalog_can_be_searched(served: Served) -> None:
    async def names(query: str) -> list[str]:
        return [each["name"] for each in (await served.get(f"/v1/catalog?{query}"))["events"]]

    assert await names("q=LOGGED+in") == ["Signed In"]
    assert await names("q=no+such+event") == []
    assert "Page Viewed" in await names("phase=pre")
    assert "Order Completed" not in await names("phase=pre")
    assert await names("q=cart+viewed&phase=post") == []
    assert (await served.get("/v1/catalog?phase=later", 400))["code"] == "invalid_parameter"


async def test_an_event_is_found_by_each_of_its_names(served: Served) -> None:
    own = await served.get("/v1/catalog/Order%20Completed")
    assert own["name"] == "Order Completed"
    assert await served.get("/v1/catalog/purchase") == own
    refused = await served.get("/v1/catalog/Lamp%20Lit", 404)
    assert refused["code"] == "unknown_event_name"


@pytest.mark.parametrize("path", ["/v1/catalog", "/v1/catalog?q=cart", "/v1/catalog/Order%20Completed"])
async def test_what_did_not_change_is_not_sent_again(served: Served, path: str) -> None:
    tag = (await served.client.get(path, headers=BEARER)).headers["etag"]
    for held in (tag, f'"other", W/{tag}', "*"):
        answer = await served.client.get(path, headers={**BEARER, "if-none-match": held})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    other = await served.client.get("/v1/catalog?q=other", headers={**BEARER, "if-none-match": tag})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["/v1/catalog", "/v1/catalog/coverage", "/v1/catalog/Order%20Completed"])
async def test_the_catalog_is_for_those_who_may_read(served: Served, path: str) -> None:
    assert (await served.client.get(path)).status_code == 401
    assert (await served.client.get(path, headers={"authorization": f"Bearer {WRITE_KEY}"})).status_code == 403


async def test_what_never_came_is_silent(served: Served) -> None:
    (lifecycle,) = (await served.get("/v1/catalog/coverage"))["lifecycles"]
    assert (lifecycle["lifecycle"], lifecycle["version"]) == ("default", 1)
    assert [track["track"] for track in lifecycle["tracks"]] == ["stage", "rewards"]
    events = [event for track in lifecycle["tracks"] for stage in track["stages"] for event in stage["events"]]
    assert all(event["silent"] and event["last_seen"] is None and event["count"] == 0 for event in events)
    assert all(event["in_catalog"] for event in events)
    assert lifecycle["silent"] == sorted({event["name"] for event in events})


async def test_a_stage_expects_what_leads_into_it_and_out_of_it(served: Served) -> None:
    assert (await served.expected("Checkout Started"))["transitions"] == ["intent", "intent_cools"]
    assert (await served.expected("Order Completed"))["transitions"] == ["purchase"]
    assert (await served.expected("Setup Completed", "at_risk"))["transitions"] == ["stuck_in_setup"]


async def test_an_event_that_comes_is_counted_under_all_its_names(served: Served) -> None:
    await served.track("Checkout Started", "begin_checkout", "begin_checkout")
    served.clock.move(MINUTE)
    await served.track("Checkout Started", value="a lot")
    assert await served.expected("Checkout Started") == {
        "name": "Checkout Started",
        "in_catalog": True,
        "transitions": ["intent", "intent_cools"],
        "last_seen": format_instant(NOW + MINUTE),
        "count": 4,
        "flagged": 1,
        "sent_as": ["Checkout Started", "begin_checkout"],
        "silent": False,
    }


async def test_an_event_is_silent_when_it_did_not_come_for_fourteen_days(served: Served) -> None:
    await served.track("Checkout Started")
    served.clock.move(14 * DAY)
    assert (await served.expected("Checkout Started"))["silent"] is False
    served.clock.move(1)
    assert (await served.expected("Checkout Started"))["silent"] is True
    assert "Checkout Started" in (await served.get("/v1/catalog/coverage"))["lifecycles"][0]["silent"]


async def test_events_that_nobody_planned_are_listed_the_most_frequent_first(served: Served) -> None:
    await served.track("Lamp Lit", "Lamp Bought", "Lamp Bought", "Signed In")
    assert (await served.get("/v1/catalog/coverage"))["unplanned"] == [
        {"name": "Lamp Bought", "source": "default", "last_seen": format_instant(NOW), "count": 2},
        {"name": "Lamp Lit", "source": "default", "last_seen": format_instant(NOW), "count": 1},
    ]


async def test_a_source_is_flagged_warned_or_refused_as_its_mode_says(served: Served) -> None:
    await served.track("Lamp Lit", "Signed In")
    metrics = (await served.client.get("/metrics", headers=BEARER)).text
    assert 'parcours_events_flagged_total{flag="unknown_event"} 1\n' in metrics
    rules = await served.client.get("/v1/sources/default", headers=BEARER)
    change = {**BEARER, "if-match": rules.headers["etag"]}
    changed = await served.client.put("/v1/sources/default", json={"mode": "strict"}, headers=change)
    assert changed.status_code == 200, changed.text
    # A key that the environment gave is not looked up again for a request; its rules follow a moment later.
    for _ in range(100):
        await served.track("Lamp Lit")
        metrics = (await served.client.get("/metrics", headers=BEARER)).text
        if 'parcours_events_rejected_total{code="unknown_event"} 1\n' in metrics:
            break
        await asyncio.sleep(0.05)
    await served.track("Help Searched", results_count=-1)
    metrics = (await served.client.get("/metrics", headers=BEARER)).text
    assert 'parcours_events_rejected_total{code="unknown_event"} 1\n' in metrics
    assert 'parcours_events_rejected_total{code="invalid_event"} 1\n' in metrics


async def test_what_came_last_is_written_down_at_the_end(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path, definitions_dir=SHIPPED, write_key=WRITE_KEY, api_token=TOKEN)
    for round_ in (1, 2):
        async with running_system(settings) as system, httpx.AsyncClient(base_url=system.address) as client:
            before = (await client.get("/v1/catalog/coverage", headers=BEARER)).json()["unplanned"]
            assert [each["count"] for each in before] == [1] * (round_ - 1)
            body = {"userId": "ada", "event": "Lamp Lit"} if round_ == 1 else {"userId": "ada", "event": "Signed In"}
            assert (await client.post("/v1/track", json=body, auth=(WRITE_KEY, ""))).status_code == 200


async def test_an_event_under_another_name_moves_a_customer_and_keeps_its_name(tmp_path: Path) -> None:
    settings = Settings(
        port=0, data_dir=tmp_path, definitions_dir=SHIPPED, write_key=WRITE_KEY, api_token=TOKEN, settle=100
    )
    async with running_system(settings) as system, httpx.AsyncClient(base_url=system.address, headers=BEARER) as client:
        body = {"userId": "ada", "event": "purchase", "properties": {"order_id": 1}}
        assert (await client.post("/v1/track", json=body, auth=(WRITE_KEY, ""))).status_code == 200
        found = await client.get("/v1/customers/ada")
        for _ in range(200):
            if found.status_code != 404:
                break
            await asyncio.sleep(0.1)
            found = await client.get("/v1/customers/ada")
        assert found.json()["stages"]["default"]["stage"]["stage"] == "adoption"
        (event,) = (await client.get("/v1/customers/ada/activity")).json()["events"]
        assert event["name"] == "purchase"
