"""A server process: started, awaited, paused, killed, and never outliving the process that wanted it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

__all__ = ["LOOPBACK", "LocalServerFailed", "ServerProcess", "free_port", "watch_over"]

LOOPBACK = "127.0.0.1"
POLL_INTERVAL = 0.05
GONE_WITHIN = 20.0


class LocalServerFailed(Exception):
    """A local server did not start or stop. The message names its log; `make setup` installs what it needs."""

    code = "local_server_failed"


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def accepts_connections(port: int) -> bool:
    """Whether somebody accepts a TCP connection on that port of the loopback address."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def temporary_folder(kind: str) -> Path:
    """A new temporary folder for a server's data, readable by the user that the server runs as."""
    folder = Path(tempfile.mkdtemp(prefix=f"parcours-{kind}-"))
    folder.chmod(0o755)
    return folder


class ServerProcess:
    """A server as an operating system process: its process id is in `folder/server.pid`, its output in `server.log`."""

    def __init__(self, name: str, folder: Path) -> None:
        """`name` is for messages; `folder` exists."""
        self.name = name
        self.folder = folder
        self.log_path = folder / "server.log"
        self.pid_path = folder / "server.pid"

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        process = self._process()
        return process.pid if process is not None else None

    def spawn(self, command: Sequence[str], environment: Mapping[str, str], user: str | None = None) -> None:
        """Start the command in a session of its own, optionally as another user."""
        with self.log_path.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=dict(environment),
                start_new_session=True,
                user=user,
            )
        # Whoever stops the server need not be the process that started it, so no handle is kept.
        child.returncode = 0
        self.pid_path.write_text(f"{child.pid} {psutil.Process(child.pid).create_time()}")

    def wait_until(self, ready: Callable[[], bool], within: float) -> None:
        """Wait for `ready()`. Raises `LocalServerFailed` when the process ends or `within` seconds pass."""
        deadline = time.monotonic() + within
        while not ready():
            if self._process() is None:
                raise LocalServerFailed(f"{self.name} ended while it started: {self.last_words()}")
            if time.monotonic() > deadline:
                raise LocalServerFailed(f"{self.name} was not ready within {within:.0f} s: see {self.log_path}.")
            time.sleep(POLL_INTERVAL)

    def wait_until_ended(self, within: float) -> None:
        """Wait for the end of a process that ends by itself. Raises `LocalServerFailed` when it does not in time."""
        process = self._process()
        if process is not None and not self._gone(process, within):
            raise LocalServerFailed(f"{self.name} did not end within {within:.0f} s: see {self.log_path}.")

    def stop(self, gently: signal.Signals, within: float) -> None:
        """Ask the server to end by a signal; kill it when it has not ended in time. No error when it is not running."""
        process = self._process()
        if process is None:
            return
        process.resume()
        process.send_signal(gently)
        if not self._gone(process, within):
            self.kill()

    def kill(self) -> None:
        """End the server and its children at once with SIGKILL, as a crash would."""
        process = self._process()
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        for member in family:
            _signal(member, signal.SIGKILL)
        for member in family:
            if not self._gone(member, GONE_WITHIN):
                raise LocalServerFailed(f"{self.name} (process {member.pid}) cannot be killed.")

    def pause(self) -> None:
        """Freeze the server and its children: connections stay open and nothing answers."""
        self._signal_family(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal_family(signal.SIGCONT)

    def discard(self) -> None:
        """Kill the server and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal_family(self, number: signal.Signals) -> None:
        process = self._process()
        if process is None:
            raise LocalServerFailed(f"{self.name} is not running.")
        for member in (process, *process.children(recursive=True)):
            _signal(member, number)

    def _process(self) -> psutil.Process | None:
        """The server's process, unless it ended or its id now belongs to another process."""
        try:
            number, created = self.pid_path.read_text().split()
            process = psutil.Process(int(number))
            if abs(process.create_time() - float(created)) > 1 or process.status() == psutil.STATUS_ZOMBIE:
                _reap(int(number))
                return None
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process

    def _gone(self, process: psutil.Process, within: float) -> bool:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    _reap(process.pid)
                    return True
            except psutil.NoSuchProcess:
                return True
            time.sleep(POLL_INTERVAL)
        return False

    def last_words(self) -> str:
        """The end of what the server printed, for messages."""
        lines = [line for line in self.log_path.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-5:])[-1_000:] or "it said nothing"


def watch_over(folder: Path, owner: int) -> None:
    """Start a small process that kills the server of `folder` and deletes the folder once process `owner` is gone.

    It ends by itself when the folder is deleted. So not even a killed test run leaves a server behind.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-m", "localservers.watcher", str(owner), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parent.parent,
        start_new_session=True,
    )
    watcher.returncode = 0  # it outlives this process, so nobody here waits for it


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _reap(pid: int) -> None:
    """Let the operating system forget an ended child; another process's child is not ours to reap."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
