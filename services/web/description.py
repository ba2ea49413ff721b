"""The OpenAPI document of the API, completed: what any route may answer beside what it says of itself.

Routes name their own problems; the frame of the application answers others, which no route needs to repeat.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI

from schemas.problems import PROBLEM_CONTENT_TYPE, PROBLEMS, Problem, problem

__all__ = ["complete_description"]

_JSON: Final = "application/json"
_METHODS: Final = ("get", "put", "post", "delete", "patch")
_PROBLEM: Final = {"$ref": f"#/components/schemas/{Problem.__name__}"}
_HTTP_FACTS: Final = ("HTTPValidationError", "ValidationError")
_ALWAYS: Final = ("uri_too_long", "unavailable")
_SECURED: Final = ("duplicate_header", "unauthorized", "scope")
_WITH_PARAMETERS: Final = ("invalid_parameter",)
_WITH_PLACES: Final = ("invalid_id", "not_found")
_WITH_BODY: Final = ("bad_request", "invalid_json", "body_too_large", "unsupported_media_type", "invalid_body")
_RETRY: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}, "example": 2}
}
_WHO: Final = {"WWW-Authenticate": {"schema": {"type": "string"}, "example": "Bearer"}}
_HEADERS: Final = {"401": _WHO, "429": _RETRY, "503": _RETRY}


def complete_description(app: FastAPI) -> None:
    """Let the document of `app` name every answer of its own routes; those that others add to it stay as they are."""
    plain: Callable[[], dict[str, Any]] = app.openapi
    done: list[dict[str, Any]] = []

    def completed() -> dict[str, Any]:
        document = plain()
        if not any(document is known for known in done):
            _complete(document)
            done.append(document)
        return document

    app.openapi = completed  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _complete(document: dict[str, Any]) -> None:
    for operation in _operations(document):
        responses = operation["responses"]
        # The framework describes a refusal of parameters and bodies that is never answered here.
        if _HTTP_FACTS[0] in str(responses.get("422")):
            del responses["422"]
        for status, response in responses.items():
            _as_problem(status, response)
        for code in _codes(operation):
            _add(responses, code)
        operation["responses"] = dict(sorted(responses.items()))
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _HTTP_FACTS:
        schemas.pop(name, None)
    schemas.setdefault(Problem.__name__, _problem_schema(schemas))


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from (operation for method, operation in methods.items() if method in _METHODS)


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


def _problem_schema(schemas: dict[str, Any]) -> dict[str, Any]:
    schema = Problem.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    for name, definition in schema.pop("$defs", {}).items():
        schemas.setdefault(name, definition)
    return schema
