"""What one server does with one kind of request: measured from outside, on cores of its own."""

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from bench.ingest.events import BATCH, SINGLE, requests
from bench.ingest.load import answer_all, answer_for
from bench.ingest.processes import Measured, started
from bench.ingest.setting import PLAIN_TOPIC, Setting
from localservers.processes import accepts_connections, free_port

__all__ = ["CONNECTIONS", "Figures", "Memory", "bare", "door_on_files", "doors", "fed", "measured", "plain"]

CONNECTIONS: Final[Mapping[int, int]] = {SINGLE: 64, BATCH: 16}
"""By events per request. Sixteen batches on their way keep a worker busy; more of them would only wait longer."""

_WARM_SECONDS: Final = 1.5
_STEPS: Final = 10
_DOOR: Final = (sys.executable, "-m", "bench.ingest.door")


@dataclass(frozen=True, slots=True)
class Figures:
    """Events per second, CPU microseconds per event, and the share of one core that the server used.

    `p50` and `p99` are the waits in ms that half and 99 of 100 requests did not exceed; `resident` is in MB.
    """

    rate: float
    cpu: float
    busy: float
    p50: float
    p99: float
    resident: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident MB of each worker after every tenth of so many events."""

    events: int
    resident: Sequence[float]


def measured(servers: Sequence[Measured], size: int, seconds: float) -> Figures:
    """Warm up, then measure for so long; `size` is the events per request, the load is shared by the servers."""
    load, ports, connections = requests(size), [server.port for server in servers], CONNECTIONS[size] * len(servers)
    answer_for(ports, load, connections, _WARM_SECONDS)
    before = sum(server.cpu for server in servers)
    answered = answer_for(ports, load, connections, seconds)
    cpu = sum(server.cpu for server in servers) - before
    events = answered.requests * size
    return Figures(
        rate=events / answered.seconds,
        cpu=cpu / events * 1e6,
        busy=cpu / answered.seconds / len(servers),
        p50=answered.wait(0.5),
        p99=answered.wait(0.99),
        resident=max(server.resident for server in servers),
    )


def fed(server: Measured, events: int) -> Memory:
    """Feed so many events in batches, and look at the memory ten times."""
    load, resident = requests(BATCH), [server.resident]
    for _ in range(_STEPS):
        answer_all([server.port], load, CONNECTIONS[BATCH], max(1, events // BATCH // _STEPS))
        resident.append(server.resident)
    return Memory(events, resident)


@contextmanager
def doors(where: Setting, workers: int = 1) -> Iterator[list[Measured]]:
    """Doors on the servers of the setting, each with a core of its own as far as there are any."""
    with ExitStack() as stack:
        found = []
        for cores in where.cores.workers[:workers]:
            port = free_port()
            found.append(stack.enter_context(started(_DOOR, port, _ready, cores, where.folder, where.cluster(port))))
        yield found


@contextmanager
def door_on_files(where: Setting) -> Iterator[list[Measured]]:
    """A door on the embedded log."""
    port = free_port()
    with started(_DOOR, port, _ready, where.cores.workers[0], where.folder, where.embedded(port)) as server:
        yield [server]


@contextmanager
def plain(where: Setting) -> Iterator[list[Measured]]:
    """A FastAPI route with pydantic and one send() per event."""
    with _contender(where, "plain", where.bootstrap_servers, PLAIN_TOPIC) as servers:
        yield servers


@contextmanager
def bare(where: Setting) -> Iterator[list[Measured]]:
    """An ASGI application that answers 202."""
    with _contender(where, "bare") as servers:
        yield servers


@contextmanager
def _contender(where: Setting, kind: str, *more: str) -> Iterator[list[Measured]]:
    port = free_port()
    command = [sys.executable, "-m", "bench.ingest.contenders", kind, str(port), *more]
    with started(command, port, accepts_connections, where.cores.workers[0], where.folder) as server:
        yield [server]


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
