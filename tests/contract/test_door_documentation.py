"""The door in OpenAPI: its paths, models and refusals are documented, though a dispatcher serves them."""

from typing import Any

import pytest
from fastapi import FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator

from ingest.documentation import WRITE_KEY_SCHEME, add_door_documentation
from ingest.http import ROUTES
from schemas.problems import PROBLEMS


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


def test_every_long_path_that_takes_one_call_is_documented_beside_the_rest(document: dict[str, Any]) -> None:
    calls = {f"/v1/{call}" for call in set(ROUTES.values()) - {"metrics"}}
    assert set(document["paths"]) == {*calls, "/v1/other"}


def test_every_documented_refusal_stands_in_the_table_under_its_status(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/track"]["post"]
    assert operation["security"] == [{WRITE_KEY_SCHEME: []}]
    assert operation["responses"]["200"]["content"]["application/json"]["examples"]["done"]["value"] == {
        "success": True
    }
    refusals = {status: answer for status, answer in operation["responses"].items() if status != "200"}
    assert set(refusals) == {"400", "401", "413", "415", "429", "503"}
    for status, answer in refusals.items():
        for code, example in answer["content"]["application/json"]["examples"].items():
            assert PROBLEMS[code].status == int(status)
            assert example["value"] == {"success": False, "code": code, "message": PROBLEMS[code].sentence}
