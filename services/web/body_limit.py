"""A bound on the bodies of the API: the framework reads a body whole before it asks who sends it."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.problems import problem
from services.web.problems import problem_response

__all__ = ["MAX_API_BODY", "BodyLimit"]

MAX_API_BODY: Final = 1_048_576
_SENTENCE: Final = "A body may hold 1 MiB here. Send less."


class BodyLimit:
    """ASGI wrapper that answers 413 `body_too_large` as soon as a body passes `MAX_API_BODY`, stated or counted."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` reads bodies through `receive` and does not answer before it has read them."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if stated.isdigit() and int(stated[:20]) > MAX_API_BODY:
            await _refuse(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_API_BODY:
                raise HTTPException(413)
            return message

        async def sending(message: Message) -> None:
            if size <= MAX_API_BODY:
                await send(message)
            elif message["type"] == "http.response.start":
                await _refuse(scope, receive, send)

        await self._app(scope, counted, sending)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await problem_response(problem("body_too_large", _SENTENCE, instance=scope["path"][:256]))(scope, receive, send)
