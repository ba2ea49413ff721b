"""Every error of the API as an RFC 9457 problem: nothing ever answers `detail` alone, or a stack trace."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.ids import InvalidId
from schemas.problems import PROBLEM_CONTENT_TYPE, PROBLEMS, Fault, Problem, ProblemError, problem, shown
from schemas.times import InvalidTime
from services.eventlog.port import LogError
from services.storage.errors import StorageError

__all__ = ["ProblemBoundary", "install_problems", "problem_response", "problem_responses"]

log = logging.getLogger(__name__)

RETRY_AFTER = "2"
_BY_STATUS = {
    401: "unauthorized",
    403: "scope",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_body",
    429: "too_many_requests",
    503: "unavailable",
}
_EXTRA_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": RETRY_AFTER},
    503: {"Retry-After": RETRY_AFTER},
}


def problem_response(body: Problem) -> Response:
    """The HTTP answer of a problem, with the headers that its status asks for."""
    content = body.model_dump_json(exclude_none=True)
    return Response(content, body.status, _EXTRA_HEADERS.get(body.status), PROBLEM_CONTENT_TYPE)


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can answer these problems, for OpenAPI: one entry per status, with examples."""
    answers: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        if kind.status not in answers:
            content: dict[str, Any] = {PROBLEM_CONTENT_TYPE: {"examples": {}}}
            answers[kind.status] = {"model": Problem, "description": kind.title, "content": content}
        examples = answers[kind.status]["content"][PROBLEM_CONTENT_TYPE]["examples"]
        examples[code] = {"summary": kind.title, "value": jsonable_encoder(problem(code), exclude_none=True)}
    return answers


def install_problems(app: FastAPI, draw_id: Callable[[], str]) -> None:
    """Answer every error of `app` as a problem; `draw_id` makes the request id that the log and the answer share."""

    def respond(request: Request, code: str, detail: str | None = None, errors: tuple[Fault, ...] = ()) -> Response:
        instance = request.url.path[:256]
        return problem_response(problem(code, detail, instance=instance, request_id=draw_id(), errors=errors))

    async def answer(request: Request, error: Exception) -> Response:
        match error:
            case ProblemError():
                return respond(request, error.code, error.detail, error.errors)
            case RequestValidationError():
                return respond(request, *_invalid(error))
            case HTTPException():
                code = _BY_STATUS.get(error.status_code, "bad_request" if error.status_code < 500 else "internal_error")
                response = respond(request, code)
                response.headers.update(error.headers or {})
                return response
            case InvalidId() | InvalidTime():
                return respond(request, error.code, str(error))
        cause = getattr(error, "code", "unexpected")
        log.warning("http.unavailable", extra={"code": cause, "route": _route_of(request.scope)})
        return respond(request, "unavailable")

    for kind in (ProblemError, RequestValidationError, HTTPException, InvalidId, InvalidTime, StorageError, LogError):
        app.add_exception_handler(kind, answer)
    app.add_middleware(ProblemBoundary, draw_id=draw_id)


def _route_of(scope: Scope) -> str:
    """The template of the route, for the log: what stands in its places may be personal."""
    return str(getattr(scope.get("route"), "path", "none"))


def _invalid(error: RequestValidationError) -> tuple[str, str | None, tuple[Fault, ...]]:
    """Code, detail and faults: 400 for JSON that cannot be read and for parameters, 422 for a body of another shape."""
    faults = []
    for found in error.errors():
        where = "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in found["loc"])
        faults.append(Fault(pointer=where[:256], code=str(found["type"])))
        if found["type"] == "json_invalid":
            return "invalid_json", None, tuple(faults)
    in_body = all(found["loc"][:1] == ("body",) for found in error.errors())
    first = error.errors()[0]
    name = shown(str(first["loc"][-1]))
    return (
        "invalid_body" if in_body else "invalid_parameter",
        f"{name}: {str(first['msg'])[:200]}.",
        tuple(faults),
    )


class ProblemBoundary:
    """Around the whole application: what nobody expected is logged once with its trace and answered as a problem."""

    def __init__(self, app: ASGIApp, draw_id: Callable[[], str]) -> None:
        """`draw_id` makes the request id that the log and the answer share."""
        self._app = app
        self._draw_id = draw_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Once an answer has begun there is nothing left to answer: the error goes up."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if started:
                raise
            request_id = self._draw_id()
            log.exception("http.failed", extra={"request_id": request_id, "route": _route_of(scope)})
            answer = problem_response(problem("internal_error", instance=scope["path"][:256], request_id=request_id))
            await answer(scope, receive, send)
