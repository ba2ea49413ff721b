"""A service of the product as an operating system process of its own: started, awaited, frozen, killed, drained."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from localservers.processes import LOOPBACK, free_port

__all__ = ["CHECKOUT", "Service", "ServiceFailed", "watch_over"]

CHECKOUT = Path(__file__).resolve().parents[2]

_POLL_SECONDS = 0.05
_READY_SECONDS = 60.0
_DRAIN_SECONDS = 20.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "PYTHONDONTWRITEBYTECODE")


class ServiceFailed(AssertionError):
    """A service did not do what its operator may expect: it did not start, ended by itself, or did not drain."""


class Service:
    """`parcours <command>` with an HTTP port of its own. It can be started again after every end; the port stays."""

    def __init__(self, name: str, command: Sequence[str], settings: Mapping[str, str], folder: Path) -> None:
        """`settings` is its whole environment, but for PORT; what it prints goes to `folder`/`name`.log."""
        self.name = name
        self.port = free_port()
        self.log_path = folder / f"{name}.log"
        self._pid_path = folder / f"{name}.pid"
        self._command = [sys.executable, "-m", "services.cli", *command]
        self._folder = folder
        kept = {variable: os.environ[variable] for variable in _KEPT if variable in os.environ}
        own = {"PYTHONPATH": str(CHECKOUT), "PARCOURSLOOPBACK": LOOPBACK, "PARCOURS_PORT": str(self.port)}
        # PostgreSQL then tells whose its connections are.
        self.environment = {**kept, **own, "PGAPPNAME": name, **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there (frozen or not)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id. Raises `ServiceFailed` when it does not run."""
        return self._alive().pid

    def start(self) -> None:
        """Start the process; `wait_ready` waits for it."""
        if self.running:
            raise ServiceFailed(f"{self.name} runs already.")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self.environment,
                start_new_session=True,
            )
        with suppress(psutil.Error):
            self._pid_path.write_text(f"{self._process.pid} {psutil.Process(self._process.pid).create_time()}")

    def wait_ready(self, path: str = "/readyz", seconds: float = _READY_SECONDS) -> None:
        """Wait until `path` answers 200. Raises `ServiceFailed` when the process ends or time is up."""
        deadline = time.monotonic() + seconds
        answer = "nothing"
        while time.monotonic() < deadline:
            self._alive()
            status, body = self.get(path)
            if status == 200:
                return
            answer = f"{status} {body[:400].decode(errors='replace')}"
            time.sleep(_POLL_SECONDS)
        raise ServiceFailed(f"{self.name} was not ready within {seconds:.0f} s; {path} answered {answer}.{self.tail()}")

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of a GET; status 0 when nobody answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def kill(self) -> None:
        """End it at once with SIGKILL, frozen or not."""
        process = self._alive()
        process.kill()
        process.wait()
        self._process = None

    def freeze(self) -> None:
        """Stop it with SIGSTOP: its connections stay open and nothing answers."""
        self._alive().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._alive().send_signal(signal.SIGCONT)

    def drain(self) -> None:
        """End it with SIGTERM. Raises `ServiceFailed` unless it exits with 0 in time."""
        process = self._alive()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServiceFailed(f"{self.name} did not drain within {_DRAIN_SECONDS:.0f} s.{self.tail()}") from None
        self._process = None
        if code != 0:
            raise ServiceFailed(f"{self.name} answered SIGTERM with the exit code {code}.{self.tail()}")

    def discard(self) -> None:
        """End it in any case."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ended_by_itself(self) -> int | None:
        """The exit code of a process that nobody here ended, else None."""
        return None if self._process is None else self._process.poll()

    def tail(self, lines: int = 25) -> str:
        """The last lines that it printed, for messages."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return f"\n--- end of {self.name}.log\n" + "\n".join(text.splitlines()[-lines:])

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServiceFailed(f"{self.name} does not run.")
        if (code := self._process.poll()) is not None:
            raise ServiceFailed(f"{self.name} ended by itself with the exit code {code}.{self.tail()}")
        return self._process


def watch_over(folder: Path) -> None:
    """See to it that no service of this folder outlives this process, even when this process is killed."""
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "tests.support.watchdog", str(os.getpid()), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=CHECKOUT,
        start_new_session=True,
    )
    watchdog.returncode = 0  # it outlives this process, so nobody here waits for it
