"""The door in OpenAPI: its routes are served by a dispatcher that the application does not know."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingest.errors import Refused
from schemas.events import INBOUND, Batch, Refusal, Success

__all__ = ["WRITE_KEY_SCHEME", "add_door_documentation"]

WRITE_KEY_SCHEME: Final = "WriteKey"
TAG: Final = "Tracking"
_REFERENCE: Final = "#/components/schemas/{model}"
_REFUSALS: Final = {
    400: ("empty_body", "invalid_json", "json_depth", "expected_object", "expected_batch", "bad_encoding"),
    401: ("unknown_write_key",),
    413: ("body_too_large", "too_many_events"),
    415: ("unsupported_encoding", "unsupported_media_type"),
    429: ("too_many_requests",),
    503: ("log_unavailable",),
}
_ANSWERED: Final = (
    "Answered with 200 once every event is durable. An event that cannot be accepted is kept on `parcours.rejected`"
    " with the reason, while the others of its batch are accepted. Repeating a request changes nothing."
)


def add_door_documentation(app: FastAPI) -> None:
    """Add the tracking routes to the OpenAPI document of `app`, with their models, examples and refusals."""
    plain: Callable[[], dict[str, Any]] = app.openapi

    def documented() -> dict[str, Any]:
        document = plain()
        if "/v1/batch" not in document["paths"]:
            _add(document)
        return document

    app.openapi = documented  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _add(document: dict[str, Any]) -> None:
    models: list[type[BaseModel]] = [*INBOUND.values(), Batch, Success, Refusal]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components.setdefault("securitySchemes", {})[WRITE_KEY_SCHEME] = {
        "type": "http",
        "scheme": "basic",
        "description": "The write key, as user name with an empty password. `writeKey` in the body is taken as well.",
    }
    for call, model in INBOUND.items():
        summary = (model.__doc__ or "").strip()
        document["paths"][f"/v1/{call}"] = {"post": _operation(call, model.__name__, summary)}
    document["paths"]["/v1/batch"] = {"post": _operation("batch", Batch.__name__, "Send many events at once.")}


def _operation(name: str, model: str, summary: str) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": _answer("Every event is durable.", Success.__name__, {"done": {"success": True}})}
    for status, codes in _REFUSALS.items():
        examples = {code: _refusal(code) for code in codes}
        answers[str(status)] = _answer(", ".join(codes), Refusal.__name__, examples)
    return {
        "tags": [TAG],
        "summary": summary,
        "description": _ANSWERED,
        "operationId": f"send_{name}",
        "security": [{WRITE_KEY_SCHEME: []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(model)}}},
        "responses": answers,
    }


def _answer(description: str, model: str, examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"application/json": {"schema": _schema(model), "examples": shown}}}


def _refusal(code: str) -> dict[str, Any]:
    return Refusal(code=code, message=Refused(code).detail).model_dump()


def _schema(model: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model)}
