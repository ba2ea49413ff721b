"""Listening sockets, and who holds a port that is taken."""

import errno
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

from services.errors import ServiceError

__all__ = ["CannotListen", "PortTaken", "listen"]

_BACKLOG: Final = 2_048
_LISTENING: Final = "0A"


class PortTaken(ServiceError):
    """Another process listens on this port already. Choose another one with PORT=."""

    code = "port_taken"


class CannotListen(ServiceError):
    """This address cannot be listened on. Choose another one with HOST= and PORT=."""

    code = "cannot_listen"


def listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `PortTaken`, `CannotListen`.

    `share`: other processes of the same user that share as well may listen there too, and the system deals out
    connections among them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {port} is already taken{_holder(port)}. Choose another one, for example PORT={port + 1}."
            ) from error
        reason = (error.strerror or str(error)).lower()
        raise CannotListen(
            f"Cannot listen on {host}, port {port}: {reason}. Choose others with HOST= and PORT=."
        ) from error
    return listener


def _holder(port: int) -> str:
    """`` by process 4711 (name)`` as far as that can be known, else nothing."""
    found = _holder_by_proc(port) or _holder_by_lsof(port)
    if found is None:
        return ""
    process, name = found
    return f" by process {process}" + (f" ({name})" if name else "")


def _holder_by_proc(port: int) -> tuple[int, str] | None:
    sockets: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    if not sockets:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return int(process.name), (process / "comm").read_text().strip()
        except OSError:
            continue  # another user's process, or one that just ended
    return None


def _holder_by_lsof(port: int) -> tuple[int, str] | None:
    program = shutil.which("lsof")
    if program is None:
        return None
    command = [program, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=3, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    fields = {line[:1]: line[1:] for line in reversed(answer.splitlines())}
    process = fields.get("p", "")
    return (int(process), fields.get("c", "")) if process.isdigit() else None
