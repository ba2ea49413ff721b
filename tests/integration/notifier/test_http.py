"""The API of messages."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from notifier.http import messages_router
from schemas.cursors import Cursors
from schemas.times import DAY, format_instant
from services.web.problems import install_problems
from tests.integration.notifier.house import NOON, House, change


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routes, over four messages sent and one that came too late."""
    for number in range(4):
        subject = f"user:u-{number}"
        house.clock.move(1_000)
        identified = house.identify(subject, email=f"u{number}@example.com", first_name=f"Ada {number}")
        house.read(identified, house.changed(change(subject)), house.progress())
    old = change("user:u-0", at=NOON - 9 * DAY, to="churned", actions=({"notify": "win_back"},))
    house.clock.move(1_000)
    house.read(house.changed(old), house.progress())
    app = FastAPI()
    install_problems(app, lambda: "r")
    app.include_router(messages_router(house.reads, Cursors(b"key")))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as found:
        yield found


async def test_messages_are_listed_newest_first_page_by_page(client: httpx.AsyncClient) -> None:
    whole = (await client.get("/v1/messages")).json()
    assert [each["customer"] for each in whole["messages"]] == ["u-0", "u-3", "u-2", "u-1", "u-0"]
    assert whole["next"] is None
    first = (await client.get("/v1/messages", params={"limit": "2"})).json()
    second = (await client.get("/v1/messages", params={"limit": "3", "cursor": first["next"]})).json()
    assert first["messages"] + second["messages"] == whole["messages"]
    assert second["next"] is None


async def test_a_suppressed_message_says_why(client: httpx.AsyncClient) -> None:
    [found] = (await client.get("/v1/messages", params={"outcome": "suppressed"})).json()["messages"]
    assert (found["campaign"], found["reason"], found["subject"], found["to"]) == ("win_back", "too_old", None, None)
    assert (found["entered"], found["effective_at"]) == ("churned", format_instant(NOON - 9 * DAY))


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"customer": "u-0"}, 2),
        ({"customer": "user:u-0", "campaign": "welcome"}, 1),
        ({"campaign": "welcome"}, 4),
        ({"outcome": "sent"}, 4),
        ({"customer": "anon:u-0"}, 0),
    ],
)
async def test_messages_can_be_asked_for_by_customer_campaign_and_outcome(
    client: httpx.AsyncClient, asked: dict[str, str], count: int
) -> None:
    assert len((await client.get("/v1/messages", params=asked)).json()["messages"]) == count


async def test_one_message_comes_with_its_text_and_attempts(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/messages", params={"customer": "u-2"})).json()["messages"][0]
    assert listed["html"] is None
    found = (await client.get(f"/v1/messages/{listed['key']}")).json()
    assert found["subject"] == "Welcome aboard, Ada 2"
    assert found["text"].startswith("Hello Ada 2,")
    assert "<p>Hello Ada 2,</p>" in found["html"]
    assert [(each["channel"], each["status"]) for each in found["attempts"]] == [("outbox", "sent")]
    assert {**found, "html": None} == listed


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "unknown_message"),
        ("?cursor=nonsense", 400, "bad_cursor"),
        ("?cursor=99999999999999999999.aaaa", 400, "bad_cursor"),
        ("?customer=%00", 400, "invalid_id"),
        ("?outcome=lost", 400, "invalid_parameter"),
        ("?limit=1000", 400, "invalid_parameter"),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_with_a_code(
    client: httpx.AsyncClient, path: str, status: int, code: str
) -> None:
    answer = await client.get(f"/v1/messages{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
