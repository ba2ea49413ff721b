"""Every documented operation of the whole application, called with what its description allows and what it does not.

No answer may be a server error, have a status or a media type that the description does not name, or a body of another
shape. An operation that is added later is covered by being documented.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.processes.system import running_system
from services.settings import Settings

WRITE_KEY = "wk_of_the_description"
API_TOKEN = "pt_of_the_description"
EXAMPLES = 8
FEW = 3
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CUSTOMER = "u-42"
KNOWN: dict[str, tuple[str | Callable[["Application"], str], str]] = {
    "catalog": ("Signed Up", "name"),
    "customers": (CUSTOMER, "id"),
    "keys": (lambda it: str(it.ask("/v1/keys", {"kind": "write"}).json()["key"]["id"]), "id"),
    "lifecycles": (lambda it: str(it.ask("/v1/lifecycles").json()["lifecycles"][0]["name"]), "name"),
    "messages": (lambda it: str(it.ask("/v1/messages").json()["messages"][0]["key"]), "key"),
    "projects": (WRITE_KEY, "write_key"),
    "rejected": (lambda it: str(it.ask("/v1/rejected").json()["rejected"][0]["id"]), "id"),
    "segments": (lambda it: str(it.ask("/v1/segments").json()["segments"][0]["name"]), "name"),
    "sources": ("default", "name"),
}
"""By the part of a path after /v1: what stands in its place, or how to get one."""
QUERIES = {"/v1/segments/{name}/members": {"stage": "engaged", "track": None}, "/sourceConfig": {"writeKey": WRITE_KEY}}
"""What must be in a query for anything to be found."""


@dataclass
class Application:
    """A running application: where it is, its description, and what it takes to be let in."""

    address: str
    document: dict[str, Any]
    session: requests.Session = field(default_factory=requests.Session)
    seen: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def ask(self, path: str, body: Any = None) -> Any:
        """The answer of the API to an administrator: of a GET, or with a body of a POST."""
        method, bearer = "GET" if body is None else "POST", {"Authorization": f"Bearer {API_TOKEN}"}
        return self.session.request(method, self.address + path, json=body, headers=bearer, timeout=10)

    def credentials(self, security: list[dict[str, Any]] | None) -> dict[str, str]:
        """The header that one of these schemes asks for."""
        names = {name for scheme in security or () for name in scheme}
        if "ApiToken" in names:
            return {"Authorization": f"Bearer {API_TOKEN}"}
        return {"Authorization": requests.auth._basic_auth_str(WRITE_KEY, "")} if "WriteKey" in names else {}


class _Running(threading.Thread):
    """The whole system on the embedded shape, in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="application", daemon=True)
        root = Path(__file__).resolve().parents[2]
        self._settings = Settings(
            port=0,
            data_dir=folder,
            definitions_dir=root / "definitions",
            write_key=WRITE_KEY,
            api_token=API_TOKEN,
            settle=100,
            settle_history=100,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self.address = ""
        self.up = threading.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with running_system(self._settings) as system:
            self.address = system.address
            self.up.set()
            await self._over.wait()

    def stop(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(20)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """An application with one customer's journey in it, so that not every answer is that there is nothing."""
    running = _Running(tmp_path_factory.mktemp("described"))
    running.start()
    assert running.up.wait(30)
    document = requests.get(f"{running.address}/openapi.json", timeout=10).json()
    found = Application(running.address, document)
    events = ["Signed Up", "Onboarding Completed", "Order Completed", "Feature Used"]
    batch: Any = [
        {"type": "identify", "userId": CUSTOMER, "traits": {"email": "ada@example.com"}},
        *({"type": "track", "userId": CUSTOMER, "event": name} for name in events),
        {"type": "track", "event": "nobody's"},
    ]
    sent = found.session.post(f"{running.address}/v1/batch", json={"batch": batch}, auth=(WRITE_KEY, ""), timeout=10)
    assert sent.json() == {"success": True}
    wait_for_customer(found)
    yield found
    found.session.close()
    running.stop()


def wait_for_customer(application: Application) -> None:
    """Until the engine has seen the events."""
    pause = threading.Event()
    for _ in range(200):
        if application.ask(f"/v1/customers/{CUSTOMER}").ok and application.ask("/v1/messages").json()["messages"]:
            return
        pause.wait(0.1)
    pytest.fail("the events did not arrive")


def operations(document: dict[str, Any]) -> Iterator[Any]:
    """Every documented operation."""
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(result, Ok), result
        yield result.ok()


def held(application: Application, operation: Any, cases: SearchStrategy[Any], examples: int) -> list[str]:
    """Call an operation with generated requests; return what its answers break of the description."""
    sent: list[Any] = []
    credentials = application.credentials(operation.definition.raw.get("security"))

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def hold(case: Any) -> None:
        sent.append(case)
        response = case.call(base_url=application.address, session=application.session, headers=dict(credentials))
        application.seen[operation.label].add(response.status_code)
        case.validate_response(response, checks=CHECKS, headers=dict(credentials))

    try:
        hold()
    except Unsatisfiable:  # nothing can be wrong about a request without parameters and body
        return []
    except FailureGroup as failures:
        return [f"{operation.label}, {sent[-1]!r}:\n{failure}" for failure in failures.exceptions]
    return []


def known(application: Application, path: str) -> dict[str, str]:
    """What stands in a path so that something is there; nothing for a path whose things are not known here."""
    _, _, kind, *rest = [*path.split("/"), ""][:4]
    if not "".join(rest).startswith("{") or kind not in KNOWN:
        return {}
    where, name = KNOWN[kind]
    return {name: where} if not callable(where) else {name: where(application)}


def reachable(label: str) -> bool:
    """Whether the things in the operation's path are known here, so that some answer must have been a good one."""
    _, _, kind, *rest = [*label.split("/"), ""][:4]
    return "{" not in "".join(rest) or kind in KNOWN


@pytest.mark.timeout(240)
def test_no_answer_is_a_server_error_or_undocumented(application: Application) -> None:
    broken: list[str] = []
    for operation in operations(application.document):
        examples = FEW if "x-alias-of" in operation.definition.raw else EXAMPLES
        for mode in MODES:
            broken += held(application, operation, operation.as_strategy(generation_mode=mode), examples)
        places, query = known(application, operation.path), QUERIES.get(operation.path)
        if places or query:
            cases = operation.as_strategy(
                generation_mode=GenerationMode.POSITIVE, path_parameters=places or None, query=query
            )
            broken += held(application, operation, cases, FEW)
    assert not broken, "\n\n".join(broken)
    assert [label for label, seen in application.seen.items() if min(seen) >= 300 and reachable(label)] == []


def test_an_answer_that_the_description_does_not_name_is_noticed(application: Application) -> None:
    poorer = deepcopy(application.document)
    del poorer["paths"]["/v1/lifecycles"]["get"]["responses"]["200"]
    (operation,) = (found for found in operations(poorer) if found.label == "GET /v1/lifecycles")
    (failure,) = held(application, operation, operation.as_strategy(generation_mode=GenerationMode.POSITIVE), FEW)
    assert "Undocumented status code\n\nReceived: 200" in failure


def test_the_description_is_valid_grouped_and_shows_every_refusal_by_example(application: Application) -> None:
    document = application.document
    OpenAPIV31SpecValidator(document).validate()
    tags = {tag["name"] for tag in document["tags"]}
    shared = document["components"]["responses"]
    lacking = []
    for operation in operations(document):
        raw = operation.definition.raw
        assert raw["summary"], operation.label
        assert set(raw["tags"]) <= tags, operation.label
        for status, answer in raw["responses"].items():
            told = shared[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
            contents = told.get("content", {}).values()
            shown = all("example" in content or content.get("examples") for content in contents)
            if int(status) >= 400 and not (contents and shown):
                lacking.append(f"{operation.label} {status}")
    assert lacking == []


def test_every_link_leads_to_an_operation_that_has_its_parameter(application: Application) -> None:
    by_id = {found.definition.raw["operationId"]: found for found in operations(application.document)}
    links = [
        (operation.label, link)
        for operation in by_id.values()
        for answer in operation.definition.raw["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) >= 10
    for label, link in links:
        target = by_id[link["operationId"]]
        for name in link["parameters"]:
            assert "{" + name + "}" in target.path, label
