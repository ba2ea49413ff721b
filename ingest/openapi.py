"""What all who describe routes in OpenAPI share: how the document is extended, and the headers of refusals."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI

__all__ = ["ALLOW", "AUTHENTICATE", "RETRY_AFTER", "extend_description"]

ALLOW: Final = {"Allow": {"schema": {"type": "string"}, "example": "POST, OPTIONS"}}
RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}, "example": 2}
}
AUTHENTICATE: Final = {"WWW-Authenticate": {"schema": {"type": "string"}, "example": "Bearer"}}


def extend_description(app: FastAPI, extend: Callable[[dict[str, Any]], None]) -> None:
    """Let `extend` change the OpenAPI document of `app` once, after whatever extended it before."""
    plain: Callable[[], dict[str, Any]] = app.openapi
    done: list[dict[str, Any]] = []

    def extended() -> dict[str, Any]:
        document = plain()
        if not any(document is known for known in done):
            extend(document)
            done.append(document)
        return document

    app.openapi = extended  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
