"""The OpenAPI document of the API, completed: what any route may answer beside what it says of itself.

Routes name their own problems; the frame of the application answers others, which no route needs to repeat.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from ingest.openapi import AUTHENTICATE, RETRY_AFTER, extend_description
from schemas.events import Refusal
from schemas.problems import PROBLEM_CONTENT_TYPE, PROBLEMS, Problem, problem

__all__ = ["complete_description", "describe_transport"]

_JSON: Final = "application/json"
_METHODS: Final = ("get", "put", "post", "delete", "patch")
_PROBLEM: Final = {"$ref": f"#/components/schemas/{Problem.__name__}"}
_REFUSAL: Final = {"$ref": f"#/components/schemas/{Refusal.__name__}"}
_HTTP_FACTS: Final = ("HTTPValidationError", "ValidationError")
_ALWAYS: Final = ("uri_too_long", "unavailable")
_SECURED: Final = ("duplicate_header", "unauthorized", "scope")
_WITH_PARAMETERS: Final = ("invalid_parameter",)
_WITH_PLACES: Final = ("invalid_id", "not_found")
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "/v1/customers": ("bad_cursor", "unknown_lifecycle", "unknown_track", "unknown_stage"),
    "/v1/customers/{id}": ("unknown_customer",),
    "/v1/customers/{id}/journey": ("invalid_timestamp", "unknown_customer", "unknown_lifecycle"),
    "/v1/customers/{id}/activity": ("bad_cursor", "unknown_customer"),
    "/v1/customers/{id}/explanation": ("unknown_customer", "unknown_lifecycle"),
    "/v1/lifecycles/{name}": ("unknown_lifecycle",),
    "/v1/lifecycles/{name}/stages": ("unknown_lifecycle",),
    "/v1/segments/{name}": ("unknown_segment",),
    "/v1/segments/{name}/members": ("bad_cursor", "unknown_segment", "unknown_track", "unknown_stage"),
    "/v1/messages": ("bad_cursor", "invalid_id"),
    "/v1/messages/{key}": ("unknown_message",),
}
"""What routes of contexts answer, which do not know this layer's way of describing problems."""

_TRANSPORT: Final = ("bad_request", "request_timeout", "uri_too_long", "headers_too_large", "unavailable")
"""What the server answers before it knows for whom a request is: in the shape that SDKs understand."""

_NOT_READY: Final = {"ready": False, "problems": ["stage_engine: no partitions assigned"], "workers": []}
_WITH_BODY: Final = ("bad_request", "invalid_json", "body_too_large", "unsupported_media_type", "invalid_body")
_LINKS: Final = (
    ("POST /v1/keys", "201", "GET /v1/keys/{id}", "$response.body#/key/id"),
    ("POST /v1/keys", "201", "POST /v1/keys/{id}/rotate", "$response.body#/key/id"),
    ("POST /v1/keys", "201", "DELETE /v1/keys/{id}", "$response.body#/key/id"),
    ("GET /v1/customers", "200", "GET /v1/customers/{id}", "$response.body#/customers/0/id"),
    ("GET /v1/customers/{id}", "200", "GET /v1/customers/{id}/journey", "$request.path.id"),
    ("GET /v1/customers/{id}", "200", "GET /v1/customers/{id}/activity", "$request.path.id"),
    ("GET /v1/customers/{id}", "200", "GET /v1/customers/{id}/explanation", "$request.path.id"),
    ("GET /v1/lifecycles", "200", "GET /v1/lifecycles/{name}", "$response.body#/lifecycles/0/name"),
    ("GET /v1/lifecycles/{name}", "200", "GET /v1/lifecycles/{name}/stages", "$request.path.name"),
    ("GET /v1/segments", "200", "GET /v1/segments/{name}", "$response.body#/segments/0/name"),
    ("GET /v1/segments/{name}", "200", "GET /v1/segments/{name}/members", "$request.path.name"),
    ("GET /v1/messages", "200", "GET /v1/messages/{key}", "$response.body#/messages/0/key"),
    ("GET /v1/sources", "200", "GET /v1/sources/{name}", "$response.body#/sources/0/name"),
)
"""Where an answer leads: from an operation's status to another operation, whose one place in the path is found so."""

_HEADERS: Final = {"401": AUTHENTICATE, "429": RETRY_AFTER, "503": RETRY_AFTER}


def complete_description(app: FastAPI) -> None:
    """Let the document of `app` name every answer of its own routes; those that others add to it stay as they are."""
    extend_description(app, _complete)


def describe_transport(app: FastAPI) -> None:
    """Name for every operation, whoever described it, what the server refuses before it looks at the address."""
    extend_description(app, _complete_transport)


def _complete_transport(document: dict[str, Any]) -> None:
    for _path, operation in _operations(document):
        for code in _TRANSPORT:
            _add_of_transport(operation["responses"], code)
        operation["responses"] = dict(sorted(operation["responses"].items()))
    if (readiness := document["paths"].get("/readyz")) is not None:
        told = readiness["get"]["responses"]["503"]["content"][_JSON]
        told["examples"] = {"not_ready": {"value": _NOT_READY}, **told["examples"]}


def _complete(document: dict[str, Any]) -> None:
    for path, operation in _operations(document):
        responses = operation["responses"]
        # The framework describes a refusal of parameters and bodies that is never answered here.
        if _HTTP_FACTS[0] in str(responses.get("422")):
            del responses["422"]
        for status, response in responses.items():
            _as_problem(status, response)
        for code in (*_codes(operation), *_OWN.get(path, ())):
            _add(responses, code)
        operation["responses"] = dict(sorted(responses.items()))
    for link in _LINKS:
        _link(document["paths"], *link)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _HTTP_FACTS:
        schemas.pop(name, None)
    for model in (Problem, Refusal):
        schemas.setdefault(model.__name__, _schema(model, schemas))


def _link(paths: dict[str, Any], origin: str, status: str, target: str, place: str) -> None:
    """Add a link if this process serves both ends."""
    method, _, path = origin.partition(" ")
    other_method, _, other_path = target.partition(" ")
    operation, other = (
        paths.get(path, {}).get(method.lower()), paths.get(other_path, {}).get(other_method.lower())
    )  # fmt: skip
    if operation is None or other is None:
        return
    name = other_path.partition("{")[2].partition("}")[0]
    links = operation["responses"][status].setdefault("links", {})
    links[other["operationId"]] = {
        "description": other["summary"],
        "operationId": other["operationId"],
        "parameters": {name: place},
    }


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        yield from ((path, operation) for method, operation in methods.items() if method in _METHODS)


def _codes(operation: Mapping[str, Any]) -> Iterable[str]:
    """What the frame may answer before the route is asked."""
    parameters = operation.get("parameters", ())
    yield from _ALWAYS
    if operation.get("security"):
        yield from _SECURED
    if parameters:
        yield from _WITH_PARAMETERS
    if any(parameter.get("in") == "path" for parameter in parameters):
        yield from _WITH_PLACES
    if "requestBody" in operation:
        yield from _WITH_BODY


def _as_problem(status: str, response: dict[str, Any]) -> None:
    """A problem is described under the media type that it is answered with."""
    content = response.get("content", {})
    if content.get(_JSON, {}).get("schema") != _PROBLEM:
        return
    told = content.pop(_JSON)
    content[PROBLEM_CONTENT_TYPE] = {**told, **content.get(PROBLEM_CONTENT_TYPE, {})}
    if status in _HEADERS:
        response.setdefault("headers", _HEADERS[status])


def _add(responses: dict[str, Any], code: str) -> None:
    kind = PROBLEMS[code]
    status = str(kind.status)
    response = responses.setdefault(status, {"description": kind.title})
    content = response.setdefault("content", {}).setdefault(PROBLEM_CONTENT_TYPE, {"schema": _PROBLEM})
    value = problem(code).model_dump(mode="json", exclude_none=True)
    content.setdefault("examples", {}).setdefault(code, {"summary": kind.title, "value": value})
    if status in _HEADERS:
        response.setdefault("headers", _HEADERS[status])


def _add_of_transport(responses: dict[str, Any], code: str) -> None:
    kind = PROBLEMS[code]
    response = responses.setdefault(str(kind.status), {"description": kind.title})
    if "$ref" in response:  # those of the tracking routes, which have this shape and name these codes
        return
    told = response.setdefault("content", {}).setdefault(_JSON, {})
    schema = told.setdefault("schema", _REFUSAL)
    if schema != _REFUSAL and _REFUSAL not in schema.get("anyOf", ()):
        told["schema"] = {"anyOf": [schema, _REFUSAL]}
    value = {"success": False, "code": code, "message": kind.sentence}
    if "example" in told:
        told["examples"] = {"example": {"value": told.pop("example")}}
    told.setdefault("examples", {}).setdefault(code, {"summary": kind.title, "value": value})
    if str(kind.status) in _HEADERS:
        response.setdefault("headers", _HEADERS[str(kind.status)])


def _schema(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    for name, definition in schema.pop("$defs", {}).items():
        schemas.setdefault(name, definition)
    return schema
