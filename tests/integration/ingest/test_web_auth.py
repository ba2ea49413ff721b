"""API tokens, write keys and sessions at the API's door, and every error as a problem."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Query
from fastapi.requests import HTTPConnection
from pydantic import BaseModel

from schemas.ids import user_subject
from schemas.problems import PROBLEMS, ProblemError
from services.storage.database import Database
from services.storage.errors import StorageUnavailable
from services.storage.keys import Key, KeyKind, KeyRing, Scope, add_key, keys_metadata, keys_table
from services.web.auth import Auth, Principal
from services.web.problems import install_problems, problem_responses

READER = Key(KeyKind.API, "default", "default", frozenset({Scope.READ}))
ADMIN = Key(KeyKind.API, "default", "default", frozenset(Scope))
WRITER = Key(KeyKind.WRITE, "default", "default")


class Body(BaseModel):
    """A body."""

    name: str


async def signed_in(connection: HTTPConnection) -> Principal | None:
    if connection.cookies.get("session") == "valid":
        return Principal("default", frozenset({Scope.READ}))
    return None


def make_app(keys: KeyRing) -> FastAPI:
    app = FastAPI(redirect_slashes=False)
    install_problems(app, lambda: "request-1")
    auth = Auth(keys, signed_in)

    @app.get("/read", dependencies=[Depends(auth.read)], responses=problem_responses("unauthorized", "scope"))
    async def read(limit: Annotated[int, Query(ge=1)] = 1) -> dict[str, int]:
        return {"limit": limit}

    @app.post("/write", dependencies=[Depends(auth.write)])
    async def write(body: Body) -> dict[str, str]:
        return {"name": body.name}

    @app.delete("/admin", dependencies=[Depends(auth.admin)])
    async def admin() -> dict[str, bool]:
        return {"done": True}

    @app.get("/fail/{how}")
    async def fail(how: str) -> None:
        match how:
            case "typed":
                raise ProblemError("unknown_customer")
            case "storage":
                raise StorageUnavailable("secret place")
            case "id":
                user_subject("\x00")
        raise ZeroDivisionError("secret detail")

    return app


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    database = Database(tmp_path / "ingest.db")
    database.create(keys_metadata)
    with database.transaction() as transaction:
        add_key(transaction.connection, "revoked", READER, 0)
        transaction.connection.execute(keys_table.update().values(revoked_at=0))
        add_key(transaction.connection, "expired", replace(READER, expires_at=0), 0)
    keys = KeyRing(database, lambda: 0, {"reader": READER, "admin": ADMIN, "writer": WRITER})
    transport = httpx.ASGITransport(make_app(keys))
    async with httpx.AsyncClient(transport=transport, base_url="http://parcours") as found:
        yield found
    database.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_opens_what_its_scopes_name(client: httpx.AsyncClient) -> None:
    assert (await client.get("/read", headers=bearer("reader"))).status_code == 200
    assert (await client.get("/read", headers={"Authorization": "bearer  reader"})).status_code == 200
    assert (await client.delete("/admin", headers=bearer("admin"))).status_code == 200
    refused = await client.delete("/admin", headers=bearer("reader"))
    assert (refused.status_code, refused.json()["code"]) == (403, "scope")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer nobody",
        "Basic nobody",
        "Digest reader",
        "Basic " + base64.b64encode(b"reader:").decode(),
        "Basic ####",
        "Bearer " + "x" * 9_000,
        "Bearer " + "x" * 1_000_000,
        "Bearer revoked",
        "Bearer expired",
        "Bearer reader\x00",
        "Bearer r\u00e9ader".encode(),
        b"Bearer \xff\xfe",
        "Basic",
        "Basic " + base64.b64encode(b":").decode(),
        "Basic " + base64.b64encode(b":reader").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:").decode(),
        b"Basic \xff\xfe",
        "Basic " + "x" * 1_000_000,
    ],
)
async def test_without_a_valid_token_the_answer_is_always_the_same(
    client: httpx.AsyncClient, header: str | bytes | None
) -> None:
    given = header.encode() if isinstance(header, str) else header
    answer = await client.get("/read", headers=[] if given is None else [(b"Authorization", given)])
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {
        "type": "urn:parcours:problem:unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "code": "unauthorized",
        "detail": PROBLEMS["unauthorized"].sentence,
        "instance": "/read",
        "request_id": "request-1",
        "errors": [],
    }


async def test_a_write_key_may_not_read(client: httpx.AsyncClient) -> None:
    basic = "Basic " + base64.b64encode(b"writer:").decode()
    for header in ("Bearer writer", basic):
        answer = await client.get("/read", headers={"Authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (403, "scope")


async def test_two_authorization_headers_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/read", headers=[("Authorization", "Bearer reader"), ("Authorization", "Bearer admin")])
    assert (answer.status_code, answer.json()["code"]) == (400, "duplicate_header")


async def test_a_session_reads_but_a_header_goes_before_it(client: httpx.AsyncClient) -> None:
    client.cookies.set("session", "valid")
    assert (await client.get("/read")).status_code == 200
    assert (await client.post("/write", json={"name": "x"})).status_code == 403
    assert (await client.get("/read", headers=bearer("nobody"))).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code", "pointer"),
    [
        ("GET", "/read?limit=-1", None, 400, "invalid_parameter", "/query/limit"),
        ("GET", "/read?limit=abc", None, 400, "invalid_parameter", "/query/limit"),
        ("POST", "/write", b"{", 400, "invalid_json", "/body/1"),
        ("POST", "/write", b"{}", 422, "invalid_body", "/body/name"),
        ("POST", "/write", b"[]", 422, "invalid_body", "/body"),
        ("POST", "/write", b"", 422, "invalid_body", "/body"),
        ("GET", "/nowhere", None, 404, "not_found", None),
        ("POST", "/read", b"{}", 405, "method_not_allowed", None),
        ("GET", "/fail/typed", None, 404, "unknown_customer", None),
        ("GET", "/fail/storage", None, 503, "unavailable", None),
        ("GET", "/fail/id", None, 400, "invalid_id", None),
        ("GET", "/fail/anything", None, 500, "internal_error", None),
    ],
)
async def test_every_error_is_a_problem_with_a_code_and_a_way_out(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    content: bytes | None,
    status: int,
    code: str,
    pointer: str | None,
) -> None:
    headers = {**bearer("admin"), "Content-Type": "application/json"}
    answer = await client.request(method, path, content=content, headers=headers)
    found = answer.json()
    assert (answer.status_code, found["status"], found["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["request_id"] == "request-1"
    assert [fault["pointer"] for fault in found["errors"]] == ([] if pointer is None else [pointer])
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


def test_the_documentation_names_the_token_and_the_problems(tmp_path: Path) -> None:
    database = Database(tmp_path / "ingest.db")
    described = make_app(KeyRing(database, lambda: 0)).openapi()
    assert described["components"]["securitySchemes"]["ApiToken"]["scheme"] == "bearer"
    operation = described["paths"]["/read"]["get"]
    assert operation["security"] == [{"ApiToken": []}]
    assert operation["responses"]["401"]["content"]["application/problem+json"]["examples"]["unauthorized"]
