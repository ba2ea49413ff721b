"""What operators ask, where it is not for everybody."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from schemas.problems import PROBLEM_CONTENT_TYPE
from services.bootstrap import make_container, migrate
from services.runtime.health import WorkerHealth
from services.web.create import create_app
from tests.integration.web.test_api import TOKEN, WRITE_KEY, settings

BEARER = {"authorization": f"Bearer {TOKEN}"}
STUCK = WorkerHealth("stage_engine", assigned=False, member_for=1_000.0, poll_age=None, partitions=())


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose operations are not public; one worker makes no progress."""
    container = make_container(replace(settings(tmp_path), public_operations=False))
    await container.log.start()
    await migrate(container)
    web = await create_app(container, address="http://parcours.test", health=lambda: (STUCK,))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(web.app), base_url="http://parcours.test") as found:
        yield found
    await container.log.close()
    container.close()


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
async def test_the_numbers_and_the_description_need_a_token_that_may_read(client: httpx.AsyncClient, path: str) -> None:
    refused = await client.get(path)
    assert (refused.status_code, refused.headers["content-type"]) == (401, PROBLEM_CONTENT_TYPE)
    assert (await client.get(path, headers={"authorization": f"Bearer {WRITE_KEY}"})).status_code == 403
    assert (await client.get(path, headers=BEARER)).status_code == 200


async def test_the_page_of_the_api_asks_to_sign_in(client: httpx.AsyncClient) -> None:
    sent_on = await client.get("/docs")
    assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/sign-in?next=/docs")
    assert (await client.get("/docs", headers=BEARER)).status_code == 200


async def test_whether_it_is_alive_and_ready_is_for_everybody_but_not_why(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    for headers in ({}, {"authorization": "Bearer nobody"}, {"authorization": f"Bearer {WRITE_KEY}"}):
        answer = await client.get("/readyz", headers=headers)
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "problems": [], "workers": []})
    answer = await client.get("/readyz", headers=BEARER)
    assert answer.status_code == 503
    assert answer.json()["problems"]
    assert [worker["processor"] for worker in answer.json()["workers"]] == ["stage_engine"]
