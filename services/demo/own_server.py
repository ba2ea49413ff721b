"""The demonstration's own server: a child process with a data folder that lasts as long as it does."""

import multiprocessing
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from schemas.times import DAY, SECOND
from services.demo.watching import Watcher
from services.errors import ServiceError
from services.settings import Settings

__all__ = ["OwnServer", "ServerFailed", "demo_settings"]

_LOG: Final = "server.log"
_PATIENCE: Final = 30
_STOP_SECONDS: Final = 15.0
_EFFECTS: Final = 366 * DAY
_SETTLE: Final = 1 * SECOND


class ServerFailed(ServiceError):
    """The demonstration's server did not start."""

    code = "server_failed"


def _free_port(host: str, preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return preferred


def demo_settings(settings: Settings, folder: Path) -> Settings:
    """The embedded shape in `folder`: messages of the whole half year go out, into the local outbox only.

    Silence counts a second after the last event, so nobody waits for the table.
    """
    return replace(
        settings,
        port=_free_port(settings.host, settings.port),
        data_dir=folder,
        write_key=None,
        api_token=None,
        smtp_url=None,
        database_url=None,
        kafka_bootstrap_servers=None,
        settle=_SETTLE,
        settle_history=_SETTLE,
        effects_within=_EFFECTS,
    )


def _serve(settings: Settings, log: str) -> None:
    from services.processes.all_in_one import run_all_in_one

    with Path(log).open("w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        sys.exit(run_all_in_one(settings))


class OwnServer:
    """Context manager: starts the server, and at the end stops it and removes its folder (unless `keep`)."""

    def __init__(self, settings: Settings, *, keep: bool) -> None:
        """`settings` are the user's; host and port are taken from them, the port only if it is free."""
        self.folder = Path(tempfile.mkdtemp(prefix="parcours-demo-"))
        self.settings = demo_settings(settings, self.folder)
        self.log = self.folder / _LOG
        self._keep = keep
        # A new interpreter: it inherits nothing of this one but the terminal's process group, so Ctrl-C reaches both.
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(self.settings, str(self.log)), name="parcours-demo-server"
        )

    def __enter__(self) -> "OwnServer":
        """Start the process; `wait_until_ready` tells when it answers."""
        self._process.start()
        return self

    def wait_until_ready(self, watcher: Watcher) -> None:
        """Wait until the server makes progress. Raises `ServerFailed` with the last line of its log."""
        for _ in range(_PATIENCE * 20):
            if watcher.ready():
                return
            if not self._process.is_alive():
                break
            time.sleep(0.05)
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        raise ServerFailed(f"The demonstration's server did not start: {lines[-1] if lines else 'it left no word'}")

    def wait(self) -> None:
        """Wait until the server ends by itself."""
        self._process.join()

    def __exit__(self, *_: object) -> None:
        """Stop the server, then remove its folder."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(_STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)
