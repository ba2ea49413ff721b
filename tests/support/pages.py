"""Web pages on a port of their own: another origin than the door's, as a product's pages are."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

__all__ = ["pages"]

_TYPES: Final = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@asynccontextmanager
async def pages(texts: Mapping[str, str], scripts: Path) -> AsyncIterator[str]:
    """Serve these pages by path, and below /scripts/ the files of a folder; yields the address."""

    def found(path: str) -> tuple[str, bytes] | None:
        if path in texts:
            return _TYPES[".html"], texts[path].encode()
        file = scripts / path.removeprefix("/scripts/")
        if path.startswith("/scripts/") and file.suffix in _TYPES and file.is_file():
            return _TYPES[file.suffix], file.read_bytes()
        return None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            content = found(head.split(b" ", 2)[1].decode().partition("?")[0])
            kind, body = content or ("text/plain", b"")
            status = "200 OK" if content else "404 Not Found"
            lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # Browsers open connections before they need them.
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
