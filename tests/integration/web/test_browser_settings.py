"""What a page's SDK asks for before it sends, on the assembled application."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from ingest.browser_settings import browser_settings_router
from ingest.errors import Refused
from ingest.ports import Source
from services.bootstrap import make_container, migrate
from services.settings import Settings
from services.web.create import create_app
from tests.unit.demo.models import DEFAULT

KEY = "wk_of_the_page"
SEGMENT, RUDDER = f"/v1/projects/{KEY}/settings", "/sourceConfig"
BASIC = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
PAGE = {"origin": "https://shop.test"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which knows one write key."""
    settings = Settings(port=0, data_dir=tmp_path, definitions_dir=DEFAULT.parents[1], write_key=KEY, api_token="pt_t")
    container = make_container(settings)
    await container.log.start()
    await migrate(container)
    web = await create_app(container, address="http://door.test", health=tuple)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(web.app), base_url="http://door.test:8080") as client:
        yield client
    await container.log.close()
    container.close()


def segment_of(answer: httpx.Response) -> dict[str, str]:
    """Where Segment's library is told to send."""
    assert answer.status_code == 200
    found: dict[str, str] = answer.json()["integrations"]["Segment.io"]
    return found


async def test_segments_library_is_sent_back_to_the_address_it_asked(client: httpx.AsyncClient) -> None:
    answer = await client.get(SEGMENT, headers=PAGE)
    assert segment_of(answer) == {"apiKey": KEY, "apiHost": "door.test:8080/v1", "protocol": "http"}
    assert list(answer.json()["integrations"]) == ["Segment.io"]
    assert answer.json()["metrics"] == {"sampleRate": 0}
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "private, max-age=60"
    assert "host" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("javascript", "http"), ("https,http", "http")],
)
async def test_a_proxy_in_front_says_that_the_page_speaks_tls(
    client: httpx.AsyncClient, stated: str, expected: str
) -> None:
    answer = await client.get(SEGMENT, headers={"x-forwarded-proto": stated, "x-forwarded-host": "evil.test"})
    assert segment_of(answer) == {"apiKey": KEY, "apiHost": "door.test:8080/v1", "protocol": expected}


@pytest.mark.parametrize("host", ["door.test/evil", 'door.test"><script>', "user@door.test", "a b", "x" * 256, ""])
async def test_a_strange_host_is_never_echoed(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.get(SEGMENT, headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("path", [RUDDER, RUDDER + "/"])
@pytest.mark.parametrize("how", ["header", "address"])
async def test_rudderstacks_library_is_told_of_a_source_without_destinations(
    client: httpx.AsyncClient, path: str, how: str
) -> None:
    given = {"headers": {"authorization": BASIC}} if how == "header" else {"params": {"writeKey": KEY, "p": "npm"}}
    answer = await client.get(path, **given)  # type: ignore[arg-type]  # one of the two, each a mapping of texts
    assert answer.status_code == 200
    source = answer.json()["source"]
    assert (source["writeKey"], source["enabled"], source["destinations"]) == (KEY, True, [])
    assert source["config"]["statsCollection"] == {"errors": {"enabled": False}, "metrics": {"enabled": False}}
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "path", ["/v1/projects/wk_other/settings", "/v1/projects/pt_t/settings", RUDDER, RUDDER + "/?writeKey=wk_other"]
)
async def test_an_unknown_key_is_refused_as_at_the_door(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers=PAGE)
    refused = await client.post("/v1/track", headers=PAGE, json={"writeKey": "wk_other"})
    assert (answer.status_code, answer.json()) == (refused.status_code, refused.json())
    assert answer.json()["code"] == "unknown_write_key"
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", [SEGMENT, RUDDER, RUDDER + "/"])
async def test_a_preflight_needs_no_key(client: httpx.AsyncClient, path: str) -> None:
    asks = {**PAGE, "access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    answer = await client.options(path, headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_head_answers_like_get_without_a_body(client: httpx.AsyncClient) -> None:
    answer, full = await client.head(SEGMENT), await client.get(SEGMENT)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers == full.headers


async def test_nothing_can_be_written_there(client: httpx.AsyncClient) -> None:
    answer = await client.post(SEGMENT, json={})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("given", ["Basic %%%", "Basic /w==", "a" * 9_000])
async def test_credentials_that_cannot_be_read_are_an_unknown_key(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get(RUDDER, params={"writeKey": KEY}, headers={"authorization": given})
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown_write_key")


async def test_a_key_longer_than_any_is_unknown(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/projects/" + "k" * 5_000 + "/settings")
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown_write_key")


@pytest.mark.parametrize("path", [SEGMENT, RUDDER])
async def test_when_keys_cannot_be_read_the_page_is_told_to_come_back(path: str) -> None:
    async def fails(_: str | None) -> Source:
        raise Refused("unavailable")

    app = FastAPI()
    app.include_router(browser_settings_router(fails))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door.test") as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert answer.headers["access-control-allow-origin"] == "*"
