"""TLS in front of a PostgreSQL that was built without it: takes its clients' request for TLS and forwards the rest."""

import asyncio
import ssl
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final

from localservers.certificates import Certificates
from localservers.processes import LOOPBACK, LocalServerFailed

__all__ = ["TlsFront"]

_REQUEST: Final = struct.pack("!ii", 8, 80_877_103)
_FATAL: Final = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for this host, no encryption\0\0"
_PIECE: Final = 65_536
_READY_WITHIN: Final = 10.0


class TlsFront:
    """Listens on a free port of the loopback address while it is entered; `port` tells which. Refuses plain clients."""

    def __init__(self, certificates: Certificates, behind: int) -> None:
        """`behind` is the port of the server."""
        self.port = 0
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.chain)
        self._behind = behind
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="TLS front", daemon=True)

    def __enter__(self) -> "TlsFront":
        """Listen. Raises `LocalServerFailed`."""
        self._thread.start()
        if not self._ready.wait(_READY_WITHIN):
            raise LocalServerFailed("The TLS front does not listen.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection and stop."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_READY_WITHIN)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._client, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            try:
                if await reader.readexactly(len(_REQUEST)) == _REQUEST:
                    writer.write(b"S")
                    await writer.start_tls(self._context)
                    await self._forward(reader, writer)
                else:
                    writer.write(b"E" + struct.pack("!i", 4 + len(_FATAL)) + _FATAL)
                    await writer.drain()
            finally:
                writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(LOOPBACK, self._behind)
        ways = {asyncio.ensure_future(_copy(reader, to_server)), asyncio.ensure_future(_copy(from_server, writer))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_server.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
