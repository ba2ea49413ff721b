"""The door on a real socket, in front of a real event log."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from ingest.browser_settings import browser_settings_router
from ingest.handlers import Door
from ingest.http import DoorApp
from ingest.ports import Answered, FirstEvent, Source
from schemas.records import Record, StoredRecord
from schemas.times import parse_instant
from schemas.topics import TOPICS
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.embedded_writer import EmbeddedWriter
from services.eventlog.port import LogError, TopicPartition
from services.processes.http_protocol import DoorProtocol

NOW = parse_instant("2026-11-03T10:00:00.000Z")
PARTITIONS = 4
BASIC = ("good", "")


class Keys:
    """One write key: `good`. While `broken`, keys cannot be looked up."""

    broken = False

    async def source(self, write_key: str) -> Source | None:
        if self.broken:
            raise OSError("no database")
        return Source("default", "shop") if write_key == "good" else None

    def at_hand(self, write_key: str) -> Source | None:
        return Source("default", "shop") if write_key == "good" and not self.broken else None


class Switch:
    """A writer in front of the log's: it can be closed, hang, lose answers, refuse records; it counts appends.

    `submits` are those of them that came without a task.
    """

    def __init__(self, writer: EmbeddedWriter) -> None:
        self.writer = writer
        self.open = asyncio.Event()
        self.open.set()
        self.failures: list[Exception] = []
        self.answers_lost = 0
        self.too_large: set[str] = set()
        self.appends = 0
        self.submits = 0
        self.reached = asyncio.Event()

    def submit(self, records: Sequence[Record], answered: Answered) -> bool:
        if not self.open.is_set() or self.failures or self.answers_lost or self.too_large:
            return False
        self.appends += 1
        self.submits += 1
        return self.writer.submit(records, answered)

    async def append(self, records: Sequence[Record]) -> Sequence[Exception | None]:
        self.appends += 1
        self.reached.set()
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        kept = [record for record in records if record.topic not in self.too_large]
        answers = iter(await self.writer.append(kept))
        if self.answers_lost:
            self.answers_lost -= 1
            raise LogError("the answer was lost")
        return [TooLarge() if record.topic in self.too_large else next(answers) for record in records]


class TooLarge(Exception):
    code = "record_too_large"


class Served:
    """A running door: where it is, what stands on its log, and how to disturb it."""

    def __init__(self, log: EmbeddedEventLog) -> None:
        self.log = log
        self.switch = Switch(log.writer())
        self.keys = Keys()
        self.first: list[FirstEvent] = []
        self.now = NOW
        self.door = Door(self.switch, self.keys, lambda: self.now, PARTITIONS, self.first.append)
        behind = FastAPI(redirect_slashes=False)
        behind.include_router(browser_settings_router(self.door.source))
        self.app = DoorApp(behind, self.door)
        self.port = 0
        self.server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def records(self, topic: str) -> list[StoredRecord]:
        """Everything on a topic, partition by partition."""
        found: list[StoredRecord] = []
        for partition in range(PARTITIONS):
            found.extend(await self.log.read(TopicPartition(topic, partition), 0, 100_000))
        return found

    async def raw(self, request: bytes, *more: bytes) -> bytes:
        """Send bytes as they are, in one piece after the other; return all that comes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in (request, *more):
                writer.write(piece)
                await writer.drain()
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client with the good write key."""
        return httpx.AsyncClient(base_url=self.url, auth=BASIC, timeout=20, trust_env=False, **options)


class Server(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


IN_A_TASK = "in a task"
WAYS = ("at once", IN_A_TASK)
"""How the door may decide a small request. Nobody who sends one shall notice."""


@asynccontextmanager
async def serving(folder: Path, prepare: Callable[[Served], None] | None = None) -> AsyncIterator[Served]:
    """A door on a free port, its log in `folder`; `prepare` changes it before it serves."""
    log = EmbeddedEventLog(folder / "log.db", lambda: NOW)
    await log.start()
    await log.create_topics(TOPICS, PARTITIONS)
    served = Served(log)
    if prepare is not None:
        prepare(served)
    listener = socket.create_server(("127.0.0.1", 0))
    served.port = listener.getsockname()[1]
    config = uvicorn.Config(
        served.app,
        http=DoorProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    server = served.server = Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.ready.wait()
        yield served
    finally:
        served.switch.open.set()
        server.should_exit = True
        await running
        await log.close()


@asynccontextmanager
async def serving_by(folder: Path, way: str) -> AsyncIterator[Served]:
    """A door that decides small requests in one of `WAYS`; in the end nothing is in flight, and it was that way."""

    def prepare(served: Served) -> None:
        if way == IN_A_TASK:
            served.app.lane = None

    async with serving(folder, prepare) as found:
        yield found
        assert way != IN_A_TASK or found.switch.submits == 0
        assert found.door.in_flight.bytes == 0
