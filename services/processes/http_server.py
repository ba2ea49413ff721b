"""The HTTP server of a process: uvicorn on a socket that is already bound, stopped by its owner."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from services.processes.http_protocol import DoorProtocol

__all__ = ["HttpServer"]

_DRAIN_SECONDS: Final = 4
_KEEP_ALIVE_SECONDS: Final = 75


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business."""
        yield


class HttpServer:
    """Serves one application on one listening socket until `stop`."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        """The socket listens already and is closed at the end."""
        self._listener = listener
        self._ready = asyncio.Event()
        config = uvicorn.Config(
            app,
            http=DoorProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        self._server = _Server(config)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.getsockname()[1])

    async def run(self) -> None:
        """Serve until stopped; then answer the requests in flight, within a few seconds."""
        await self._server.serve(sockets=[self._listener])

    async def ready(self) -> None:
        """Wait until requests are answered."""
        while not self._server.started:  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.005)

    def stop(self) -> None:
        """Accept no more connections; `run` returns when those in flight are answered."""
        self._server.should_exit = True
