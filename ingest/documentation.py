"""The door in OpenAPI: its routes are served by a dispatcher that the application does not know."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingest.errors import Refused
from ingest.http import ROUTES
from ingest.openapi import ALLOW, RETRY_AFTER, extend_description
from schemas.events import INBOUND, Batch, Refusal, Success

__all__ = ["REFUSALS", "WRITE_KEY_SCHEME", "add_door_documentation"]

WRITE_KEY_SCHEME: Final = "WriteKey"
TAG: Final = "Tracking"
REFUSALS: Final[Mapping[int, tuple[str, tuple[str, ...]]]] = {
    400: (
        "The request cannot be understood.",
        ("bad_request", "duplicate_header", "empty_body", "invalid_json", "json_depth", "expected_object",
         "expected_batch", "bad_encoding"),
    ),
    401: ("No valid write key.", ("unknown_write_key",)),
    405: ("Any other method than POST and OPTIONS.", ("method_not_allowed",)),
    408: ("The body did not arrive in time.", ("request_timeout",)),
    413: ("Too much for one request.", ("body_too_large", "too_many_events")),
    414: ("The address is too long.", ("uri_too_long",)),
    415: ("The body is of a kind that is not read.", ("unsupported_encoding", "unsupported_media_type")),
    429: ("Too much at this moment.", ("too_many_requests", "rate_limited")),
    431: ("The headers are too large.", ("headers_too_large",)),
    503: ("Not now: nothing is known to be stored.", ("log_unavailable", "unavailable")),
}  # fmt: skip
"""What the tracking routes refuse a request with, by status: what it means, and the codes."""

_REFERENCE: Final = "#/components/schemas/{model}"
_ANSWER: Final = "Tracking{status}"
_OWN: Final = {"/v1/batch": "batch", "/v1/m": "metrics", **{f"/v1/{call}": call for call in INBOUND}}
_SUMMARIES: Final = {"batch": "Send many events at once.", "metrics": "What SDKs measure of themselves: discarded."}
_ANSWERED: Final = (
    "Answered with 200 once every event is durable. An event that cannot be accepted is kept on `parcours.rejected`"
    " with the reason, while the others of its batch are accepted. Repeating a request changes nothing."
    " The body may come as gzip and with any content type but forms; pages of any origin may send it."
    " The write key stands in `Authorization` (Basic), in `writeKey` of the body, or in `?writeKey=`."
)
_HEADERS: Final = {405: ALLOW, 429: RETRY_AFTER, 503: RETRY_AFTER}


def add_door_documentation(app: FastAPI) -> None:
    """Add the tracking routes to the OpenAPI document of `app`, with their models, examples and refusals."""
    extend_description(app, _add)


def _add(document: dict[str, Any]) -> None:
    models: list[type[BaseModel]] = [*INBOUND.values(), Batch, Success, Refusal]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components.setdefault("responses", {}).update(_refusals())
    components.setdefault("securitySchemes", {})[WRITE_KEY_SCHEME] = {
        "type": "http",
        "scheme": "basic",
        "description": "The write key, as user name with an empty password. `writeKey` in the body is taken as well.",
    }
    whole = {call: path for path, call in _OWN.items()}
    for path, call in sorted(_paths(), key=lambda found: (found[0] not in _OWN, found)):
        operation = _operation(call)
        if path != whole[call]:
            operation |= {
                "summary": f"The same as POST {whole[call]}, where an SDK expects it.",
                "description": f"See [POST {whole[call]}](#/{TAG}/send_{call}).",
                "operationId": "send_" + path.strip("/").replace("/", "_") + ("_slash" if path.endswith("/") else ""),
                "x-alias-of": whole[call],
            }
        document["paths"][path] = {"post": operation}


def _paths() -> Iterable[tuple[str, str]]:
    return ((path.decode(), call) for path, call in ROUTES.items())


def _operation(call: str) -> dict[str, Any]:
    model = Batch if call == "batch" else INBOUND.get(call)
    done = _answer("Every event is durable.", Success.__name__, {"done": {"success": True}})
    wrong = (405,) if model is None else tuple(REFUSALS)
    operation: dict[str, Any] = {
        "tags": [TAG],
        "summary": _SUMMARIES.get(call) or (model.__doc__ or "").strip(),
        "description": _ANSWERED if model is not None else "Nothing of it is read or kept; it needs no write key.",
        "operationId": f"send_{call}",
        "security": [{WRITE_KEY_SCHEME: []}] if model is not None else [],
        "responses": {
            "200": done,
            **{str(status): {"$ref": f"#/components/responses/{_ANSWER.format(status=status)}"} for status in wrong},
        },
    }
    if model is not None:
        content = {"application/json": {"schema": _schema(model.__name__)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _refusals() -> dict[str, Any]:
    """The refusals as components, so that each stands in the document once."""
    return {
        _ANSWER.format(status=status): {
            **_answer(meaning, Refusal.__name__, {code: _refusal(code) for code in codes}),
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
        for status, (meaning, codes) in REFUSALS.items()
    }


def _answer(description: str, model: str, examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"application/json": {"schema": _schema(model), "examples": shown}}}


def _refusal(code: str) -> dict[str, Any]:
    return Refusal(code=code, message=Refused(code).detail).model_dump()


def _schema(model: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model)}
