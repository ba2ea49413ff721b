"""The assembled application over real stores: who may ask, how ids travel in paths, and a description that is true."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from openapi_spec_validator import validate

from services.bootstrap import make_container, migrate
from services.processes.system import System, running_system
from services.settings import Settings
from services.web.app import TAGS
from services.web.create import create_app
from tests.unit.demo.models import DEFAULT

TOKEN, WRITE_KEY = "pt_api_tests", "wk_api_tests"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def settings(folder: Path) -> Settings:
    """The embedded shape in `folder`, on a free port."""
    return Settings(
        port=0,
        data_dir=folder,
        definitions_dir=DEFAULT.parents[1],
        write_key=WRITE_KEY,
        api_token=TOKEN,
        settle=100,
        settle_history=100,
    )


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; nothing behind it runs."""
    container = make_container(settings(tmp_path))
    await container.log.start()
    await migrate(container)
    web = await create_app(container, address="http://parcours.test", health=tuple)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(web.app), base_url="http://parcours.test") as client:
        yield client
    await container.log.close()
    container.close()


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """Everything, running in this process."""
    async with running_system(settings(tmp_path)) as system:
        yield system


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of a description."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_the_description_is_valid_openapi_3_1_and_names_every_group(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1.")
    validate(document)
    described = [tag["name"] for tag in document["tags"]]
    assert described == [name for name, _ in TAGS]
    used = {tag for _, _, operation in operations(document) for tag in operation["tags"]}
    assert used == set(described)


async def test_every_operation_says_what_it_is_and_shows_an_example_of_its_answer(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]

    def has_example(schema: dict[str, Any], seen: frozenset[str] = frozenset()) -> bool:
        if "example" in schema or "examples" in schema:
            return True
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return name not in seen and has_example(schemas[name], seen | {name})
        inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("allOf", [])]
        inner += [schema["items"]] if "items" in schema else []
        return any(has_example(each, seen) for each in inner)

    without = []
    for path, method, operation in operations(document):
        assert operation["summary"], path
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if status.startswith("2") and content is not None and not has_example({**content, **content["schema"]}):
                without.append(f"{method} {path}")
    assert without == []


async def test_every_route_of_the_api_asks_for_a_token_and_a_write_key_is_none(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    asked = 0
    for path, method, operation in operations(document):
        if operation["tags"] in (["Tracking"], ["Operations"]):
            continue
        url = path.replace("{id}", "ada").replace("{name}", "default").replace("{key}", "k")
        anonymous = await api.request(method, url)
        with_write_key = await api.request(method, url, headers={"authorization": f"Bearer {WRITE_KEY}"})
        with_token = await api.request(method, url, headers=BEARER)
        assert (anonymous.status_code, anonymous.json()["code"]) == (401, "unauthorized"), url
        assert (with_write_key.status_code, with_write_key.json()["code"]) == (403, "scope"), url
        assert with_token.status_code in (200, 201, 400, 404, 422), url
        assert operation["security"] == [{"ApiToken": []}], url
        asked += 1
    assert asked >= 12


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("/v1/customers/nobody", 404, "unknown_customer"),
        ("/v1/customers/%20", 400, "invalid_id"),
        ("/v1/customers/a%00b", 400, "invalid_id"),
        ("/v1/customers?limit=-1", 400, "invalid_parameter"),
        ("/v1/customers?limit=abc", 400, "invalid_parameter"),
        ("/v1/customers?cursor=edited", 400, "bad_cursor"),
        ("/v1/customers?stage=nowhere", 404, "unknown_stage"),
        ("/v1/lifecycles/nothing/stages", 404, "unknown_lifecycle"),
        ("/v1/customers/", 404, "not_found"),
        ("/v1/%2e%2e/customers", 404, "not_found"),
        ("//v1/customers", 404, "not_found"),
        ("/v1/customers/%ff", 404, "not_found"),
        ("/v1/nothing", 404, "not_found"),
        ("/v1/customers/" + "a" * 9_000, 414, "uri_too_long"),
    ],
)
async def test_refusals_are_problems_with_a_stable_code(
    api: httpx.AsyncClient, url: str, status: int, code: str
) -> None:
    answer = await api.get(f"http://parcours.test{url}", headers=BEARER)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().keys() >= {"type", "title", "status", "code", "detail"}


async def test_another_method_is_refused_as_a_problem(api: httpx.AsyncClient) -> None:
    answer = await api.delete("/v1/lifecycles", headers=BEARER)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/track/", "/v1/e", "/v1/Track", "/v1/%ff", "/v1/batch//", "/v1/customers/"])
async def test_a_page_may_read_that_a_tracking_path_leads_nowhere(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await api.request(method, path, headers={"origin": "https://shop.example"})
    assert answer.status_code == 404
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    assert answer.headers["access-control-expose-headers"] == "Retry-After"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/customers/nobody", 404),
        ("GET", "/v1/lifecycles/nothing/stages", 404),
        ("DELETE", "/v1/lifecycles", 405),
        ("GET", "/v1/customers", 401),
        ("GET", "/nowhere", 404),
        ("POST", "/healthz", 405),
        ("GET", "//v1/track", 404),
    ],
)
async def test_no_page_of_another_origin_may_read_the_answers_of_the_api(
    api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    headers = {"origin": "https://shop.example", **({} if status == 401 else BEARER)}
    answer = await api.request(method, f"http://parcours.test{path}", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "content_type", ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"]
)
async def test_json_that_does_not_say_so_changes_nothing(api: httpx.AsyncClient, content_type: str) -> None:
    document = (await api.get("/openapi.json", headers=BEARER)).json()
    asked = 0
    for path, method, operation in operations(document):
        if "requestBody" in operation and operation["security"] == [{"ApiToken": []}]:
            url = path.replace("{id}", "some").replace("{name}", "shop")
            answer = await api.request(method, url, content=b"{}", headers={**BEARER, "content-type": content_type})
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), url
            asked += 1
    assert asked >= 4


async def test_a_process_without_workers_is_alive_and_ready_and_counts_its_requests(api: httpx.AsyncClient) -> None:
    assert (await api.get("/healthz")).json() == {"status": "alive"}
    assert (await api.get("/readyz")).json() == {"ready": True, "problems": [], "workers": []}
    body = {"userId": "ada", "event": "Signed In"}
    assert (await api.post("/v1/track", json=body, auth=(WRITE_KEY, ""))).status_code == 200
    assert (await api.post("/v1/track", json={"event": "x"}, auth=(WRITE_KEY, ""))).status_code == 200
    assert (await api.post("/v1/track", json=body, auth=("wrong", ""))).status_code == 401
    metrics = (await api.get("/metrics")).text
    assert "parcours_events_accepted_total 1\n" in metrics
    assert 'parcours_events_rejected_total{code="no_identity"} 1\n' in metrics
    assert 'parcours_requests_refused_total{code="unknown_write_key"} 1\n' in metrics


async def appeared(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """What an address answers once it is there; the last 404 when it does not come in time."""
    for _ in range(200):
        found = await client.get(url)
        if found.status_code != 404:
            return found
        await asyncio.sleep(0.1)
    return await client.get(url)


IDS = ["a/b", "a%2Fb", "../../v1/messages", "a?b#c", "100% sure", "é ü", "<b>", "user:u-1", "x" * 500]


async def test_any_id_finds_its_way_through_the_door_the_engine_the_api_and_the_pages(system: System) -> None:
    async with httpx.AsyncClient(base_url=system.address, headers=BEARER, timeout=10) as client:
        batch = [{"type": "track", "userId": each, "event": "Order Completed"} for each in IDS]
        answer = await client.post("/v1/batch", json={"batch": batch}, auth=(WRITE_KEY, ""))
        assert answer.status_code == 200
        for identifier in IDS:
            # A userId that looks like a prefixed id is written with the prefix once more.
            written = f"user:{identifier}" if identifier.startswith("user:") else identifier
            url = f"/v1/customers/{quote(written, safe='')}"
            found = await appeared(client, url)
            assert found.status_code == 200, found.text
            assert found.json()["id"] == written
            assert found.json()["stages"]["default"]["stage"]["stage"] == "adoption"
            page = await client.get(f"/customers/{quote(written, safe='')}")
            assert page.status_code == 200
            assert "First purchase or subscription" in page.text
        listed = (await client.get("/v1/customers", params={"limit": 500})).json()
        assert len(listed["customers"]) == len(IDS)
