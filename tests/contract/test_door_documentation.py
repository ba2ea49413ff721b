"""The door in OpenAPI: its paths, models and refusals are documented, though a dispatcher serves them."""

import ast
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator

from ingest.documentation import REFUSALS, WRITE_KEY_SCHEME, add_door_documentation
from ingest.http import ROUTES
from schemas.problems import PROBLEMS

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ("native", "cloud", "idempotency", "browser_settings")
NEVER_TOLD = {"internal_error"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI(title="Parcours", version="1")

    @app.get("/v1/other")
    async def other() -> dict[str, bool]:
        return {}

    add_door_documentation(app)
    first = app.openapi()
    assert app.openapi() == first
    return first


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_path_of_the_dispatcher_is_documented_beside_the_rest(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {*(path.decode() for path in ROUTES), "/v1/other"}


def test_a_short_path_says_for_which_one_it_stands(document: dict[str, Any]) -> None:
    for path, kind in ROUTES.items():
        operation = document["paths"][path.decode()]["post"]
        whole = operation.get("x-alias-of", path.decode())
        assert ROUTES[whole.encode()] == kind
        assert whole in operation["summary"] or whole == path.decode()
        assert operation.get("requestBody") == document["paths"][whole]["post"].get("requestBody")
        assert operation["responses"] == document["paths"][whole]["post"]["responses"]


def test_every_documented_refusal_stands_in_the_table_under_its_status(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/track"]["post"]
    assert operation["security"] == [{WRITE_KEY_SCHEME: []}]
    assert operation["responses"]["200"]["content"]["application/json"]["examples"]["done"]["value"] == {
        "success": True
    }
    refusals = {status: answer for status, answer in operation["responses"].items() if status != "200"}
    assert set(refusals) == {"400", "401", "405", "408", "413", "414", "415", "429", "431", "503"}
    for status, answer in refusals.items():
        told = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        assert ("Retry-After" in told.get("headers", {})) is (status in ("429", "503"))
        for code, example in told["content"]["application/json"]["examples"].items():
            assert PROBLEMS[code].status == int(status)
            assert example["value"] == {"success": False, "code": code, "message": PROBLEMS[code].sentence}


def test_every_code_that_the_tracking_routes_can_refuse_with_is_documented() -> None:
    used = set()
    for path in (ROOT / "ingest").rglob("*.py"):
        if path.stem.startswith(NATIVE):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Refused" and node.args:
                used |= {part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)}
    documented = {code for _, codes in REFUSALS.values() for code in codes}
    assert {"invalid_json", "unknown_write_key"} <= used
    assert {code for code in used if code in PROBLEMS} - documented == NEVER_TOLD
