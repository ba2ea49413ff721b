"""The native route in OpenAPI: it is served by an application that the rest does not know."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingest.documentation import REFUSALS, WRITE_KEY_SCHEME
from ingest.native import PATH
from ingest.openapi import ALLOW, AUTHENTICATE, RETRY_AFTER, extend_description
from schemas.cloudevents import CloudEvent, EventReceipt, Receipt
from schemas.problems import PROBLEM_CONTENT_TYPE, Problem, problem

__all__ = ["BEARER_SCHEME", "NATIVE_REFUSALS", "add_native_documentation"]

BEARER_SCHEME: Final = "WriteKeyBearer"
NATIVE_REFUSALS: Final[Mapping[int, tuple[str, tuple[str, ...]]]] = {
    **REFUSALS,
    400: (
        "The request cannot be understood.",
        ("duplicate_header", "empty_body", "invalid_json", "json_depth", "bad_encoding", "expected_events",
         "ce_missing_attribute", "ce_version", "ce_invalid_attribute", "ce_conflict", "invalid_idempotency_key"),
    ),
    409: ("The key came with another body.", ("idempotency_conflict",)),
}  # fmt: skip
"""What the native route refuses a request with, by status: what it means, and the codes."""

_REFERENCE: Final = "#/components/schemas/{model}"
_REQUEST_ID: Final = "0199b0c4-6f9e-7c1e-8a55-1f6f3f6a2b11"
_DESCRIPTION: Final = (
    "Takes a CloudEvent in the structured mode (`application/cloudevents+json`, or plain `application/json`), in the"
    " binary mode (its attributes as `ce-` headers, its data as the body), or a list of them"
    " (`application/cloudevents-batch+json`, or `application/json`). Each event gets a receipt once it is durable: on"
    " the event log, or on `parcours.rejected`. With `Idempotency-Key` the same request again within a day gets the"
    " same bytes. The write key comes as Basic user name, as Bearer token, as `?writeKey=` or as `?access_token=`."
)
_ATTRIBUTES: Final = {
    "ce-specversion": "1.0",
    "ce-id": "8f14e45f",
    "ce-source": "https://shop.example/orders",
    "ce-type": "Order Completed",
    "ce-subject": "ada",
    "ce-time": "2026-11-03T10:00:00.000Z",
}
_HEADERS: Final = {401: AUTHENTICATE, 405: ALLOW, 429: RETRY_AFTER, 503: RETRY_AFTER}


def add_native_documentation(app: FastAPI) -> None:
    """Add the native route to the OpenAPI document of `app`, with its models, examples and refusals."""
    extend_description(app, _add)


def _add(document: dict[str, Any]) -> None:
    models: list[type[BaseModel]] = [CloudEvent, Receipt, EventReceipt, Problem]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components.setdefault("securitySchemes", {})[BEARER_SCHEME] = {
        "type": "http",
        "scheme": "bearer",
        "description": "The write key as a token, as webhooks send it.",
    }
    document["paths"][PATH] = {"post": _operation()}


def _operation() -> dict[str, Any]:
    return {
        "tags": ["Tracking"],
        "summary": "Send CloudEvents, and be told what became of each.",
        "description": _DESCRIPTION,
        "operationId": "send_events",
        "security": [{WRITE_KEY_SCHEME: []}, {BEARER_SCHEME: []}],
        "parameters": [_header(name, "Binary mode only.", example) for name, example in _ATTRIBUTES.items()]
        + [_header("Idempotency-Key", "1 to 255 printable ASCII characters, new for each request.", "order-8f14e45f")],
        "requestBody": {"required": True, "content": _bodies()},
        "responses": {
            "202": _receipt(),
            **{str(status): _refusal(status, *NATIVE_REFUSALS[status]) for status in sorted(NATIVE_REFUSALS)},
        },
    }


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def _bodies() -> dict[str, Any]:
    event, many = _schema(CloudEvent), {"type": "array", "items": _schema(CloudEvent), "maxItems": 10_000}
    examples = _examples(CloudEvent)
    one = {f"event {number}": {"value": value} for number, value in enumerate(examples, 1)}
    data = {"data alone": {"summary": "Binary mode: the attributes stand in headers.", "value": examples[0]["data"]}}
    return {
        "application/cloudevents+json": {"schema": event, "examples": one},
        "application/cloudevents-batch+json": {"schema": many, "examples": {"events": {"value": examples}}},
        "application/json": {"schema": {}, "examples": {**one, "events": {"value": examples}, **data}},
    }


def _receipt() -> dict[str, Any]:
    replayed = {
        "description": "`true`: this answer was given before.",
        "schema": {"type": "string", "const": "true"},
    }
    shown = {f"receipt {number}": {"value": value} for number, value in enumerate(_examples(Receipt), 1)}
    return {
        "description": "Every event is durable, and told what became of it.",
        "headers": {"Idempotency-Replayed": replayed},
        "content": {"application/json": {"schema": _schema(Receipt), "examples": shown}},
    }


def _refusal(status: int, meaning: str, codes: tuple[str, ...]) -> dict[str, Any]:
    shown = {
        code: {"value": problem(code, instance=PATH, request_id=_REQUEST_ID).model_dump(mode="json", exclude_none=True)}
        for code in codes
    }
    return {
        "description": meaning,
        "content": {PROBLEM_CONTENT_TYPE: {"schema": _schema(Problem), "examples": shown}},
        **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
    }


def _schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _examples(model: type[BaseModel]) -> list[Any]:
    found: list[Any] = model.model_json_schema()["examples"]
    return found
