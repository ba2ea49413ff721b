"""Two processes with the door at once, on one database and one log."""

import asyncio
from typing import Any

import pytest

from schemas.times import MINUTE
from schemas.topics import EVENTS
from tests.integration.rejected.conftest import Client, Shape

pytestmark = [pytest.mark.timeout(120), pytest.mark.parametrize("shape", ["cluster"], indirect=True)]
pytestmark += [pytest.mark.kafka, pytest.mark.postgres]
EVENT = {"event": "Teapot Boiled", "userId": "ada"}


async def sent(client: Client, key: str) -> int:
    """The status of an event sent with a key."""
    return (await client.http.post("/v1/track", json=EVENT, auth=(key, ""))).status_code


async def made(client: Client, **body: Any) -> tuple[str, str]:
    """Id and secret of a new key."""
    answer = (await client.ask("POST", "/v1/keys", body)).json()
    return answer["key"]["id"], answer["secret"]


async def test_a_key_revoked_in_one_process_is_worth_nothing_in_the_other_a_minute_later(shape: Shape) -> None:
    async with shape.running() as one, shape.running() as other:
        id_, key = await made(one, kind="write", source="shop")
        token_id, token = await made(one, kind="token", scopes=["read"])
        shape.clock.move(1_000)
        for client in (one, other):
            assert [await sent(client, key) for _ in range(3)] == [200] * 3
            assert (await client.ask("GET", "/v1/keys", token=token)).status_code == 403
        for revoked in (id_, token_id):
            assert (await one.ask("DELETE", f"/v1/keys/{revoked}")).status_code == 204
        assert await sent(one, key) == 401, "at once where it was asked for"
        assert await sent(other, key) == 200
        for step in range(12):
            shape.clock.move(MINUTE // 12)
            await sent(other, key)
            await asyncio.sleep(0.05 if step in (6, 10) else 0)
        for client in (one, other):
            assert await sent(client, key) == 401
            assert (await client.ask("GET", "/v1/keys", token=token)).status_code == 401


async def test_what_two_processes_redrive_at_once_is_appended_once(shape: Shape) -> None:
    async with shape.running() as one, shape.running() as other:
        await one.mode("strict")
        batch = [{"type": "track", **EVENT, "messageId": f"m-{number}"} for number in range(300)]
        await one.post("/v1/batch", {"batch": batch})
        await one.mode("open")
        results = await asyncio.gather(*(client.redriven() for client in (one, other, other, one)))
        assert sum(result["accepted"] for result in results) == 300
        assert {reason for result in results for reason in result["skipped"]} <= {"under_way"}
        assert len(await one.records(EVENTS)) == 300
        assert (await other.listed())["counts"] == {}
