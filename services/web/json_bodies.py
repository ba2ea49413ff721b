"""Bodies are JSON and say so: what a page of someone else's can post without asking is refused."""

from typing import Final

from fastapi.requests import Request

from schemas.problems import ProblemError

__all__ = ["json_only"]

_BODILESS: Final = ("GET", "HEAD", "OPTIONS")


async def json_only(request: Request) -> None:
    """A dependency of routes that change something: a body must be `application/json`. Raises `ProblemError`."""
    if request.method in _BODILESS:
        return
    headers = request.headers
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if has_body and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError("unsupported_media_type")
