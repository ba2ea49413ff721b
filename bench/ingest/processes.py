"""The servers that are measured: each a process on a core of its own, looked at from outside."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

__all__ = ["CHECKOUT", "Cores", "Measured", "NotStarted", "on_cores", "started"]

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
CHECKOUT: Final = Path(__file__).resolve().parents[2]


class NotStarted(Exception):
    """A server did not start; the sentence holds its last words."""


class Cores(NamedTuple):
    """Which cores do what: each worker has one to itself; the load, the broker and the database share the rest.

    Empty where the operating system decides.
    """

    workers: tuple[frozenset[int], ...]
    rest: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """With two cores a second worker has to share the load's."""
        if not hasattr(os, "sched_getaffinity"):
            return cls((frozenset(), frozenset()), frozenset())
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            return cls((frozenset(), frozenset()), frozenset())
        own = 2 if len(cores) > 2 else 1
        return cls((frozenset(cores[:1]), frozenset(cores[1:2])), frozenset(cores[own:]))


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Inside, this thread and the processes that it starts run on these cores only (none: on all)."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Measured:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        """Made by `started`."""
        self.port = port
        self._process = psutil.Process(process.pid)

    @property
    def cpu(self) -> float:
        """The CPU seconds that it has used so far, in all its threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def resident(self) -> float:
        """Its resident memory in MB."""
        return float(self._process.memory_info().rss) / 1e6


@contextmanager
def started(
    command: Sequence[str],
    port: int,
    answers: Callable[[int], bool],
    cores: frozenset[int],
    folder: Path,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Measured]:
    """A process on these cores that serves on `port`, from when it answers until the block ends. Raises `NotStarted`.

    It works in `folder`; `settings` are added to the environment.
    """
    with tempfile.TemporaryFile() as output:
        with on_cores(cores):
            environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **(settings or {})}
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise NotStarted(f"{' '.join(command)}: {output.read()[-1_500:].decode(errors='replace')}")
                time.sleep(0.05)
            yield Measured(process, port)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
