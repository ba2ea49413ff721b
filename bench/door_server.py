"""The two servers that bench.door compares, each a process: `python -m bench.door_server ours|plain BOOTSTRAP PORT`.

Both write to the same kind of topic of the same Apache Kafka, acks=all and idempotent, and answer when it is stored.
GET /cpu answers the CPU seconds that the process has used.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import process_time, time_ns
from typing import Any

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from starlette.types import ASGIApp

from ingest.handlers import Door
from ingest.http import DoorApp
from ingest.ports import Source
from schemas.events import Batch, TrackEvent
from schemas.ids import DEFAULT_WORKSPACE, record_key, user_subject
from schemas.topics import EVENTS, TOPICS
from services.eventlog.kafka import KafkaEventLog
from services.processes.running import collect_rarely

__all__ = ["PARTITIONS", "now", "prefix_of"]

PARTITIONS = 4


def now() -> int:
    """The wall time in ms."""
    return time_ns() // 1_000_000


def prefix_of(kind: str) -> str:
    """What goes before the names of the topics that a kind of server writes to."""
    return f"bench-{kind}-"


class _OneKey:
    async def source(self, write_key: str) -> Source | None:
        return Source(DEFAULT_WORKSPACE, "bench") if write_key == "bench" else None


@asynccontextmanager
async def _ours(bootstrap_servers: str, rest: FastAPI) -> AsyncIterator[ASGIApp]:
    """Parcours's door in front of the application."""
    log = KafkaEventLog(bootstrap_servers, now, prefix_of("ours"))
    await log.start()
    await log.create_topics(TOPICS, PARTITIONS)
    try:
        yield DoorApp(rest, Door(log.writer(), _OneKey(), now, PARTITIONS))
    finally:
        await log.close()


@asynccontextmanager
async def _plain(bootstrap_servers: str, app: FastAPI) -> AsyncIterator[ASGIApp]:
    """What one would write first: a route, a model, and a send() for each event."""
    log = KafkaEventLog(bootstrap_servers, now, prefix_of("plain"))
    await log.start()
    await log.create_topics(TOPICS, PARTITIONS)
    await log.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    topic = prefix_of("plain") + EVENTS

    async def stored(events: list[Any]) -> dict[str, bool]:
        sent = []
        for event in events:
            key = record_key(DEFAULT_WORKSPACE, user_subject(str(event.user_id)))
            sent.append(await producer.send(topic, event.model_dump_json(exclude_unset=True).encode(), key))
        await asyncio.gather(*sent)
        return {"success": True}

    @app.post("/v1/batch")
    async def batch(body: Batch) -> dict[str, bool]:
        return await stored(body.batch)

    @app.post("/v1/track")
    async def track(body: TrackEvent) -> dict[str, bool]:
        return await stored([body])

    try:
        yield app
    finally:
        await producer.stop()


async def _serve(kind: str, bootstrap_servers: str, port: int) -> None:
    rest = FastAPI()

    @rest.get("/cpu")
    async def cpu() -> float:
        return process_time()

    if kind == "ours":
        collect_rarely()  # as every process of Parcours does
    prepared = _ours if kind == "ours" else _plain
    async with prepared(bootstrap_servers, rest) as app:
        config = uvicorn.Config(app, port=port, http="httptools", lifespan="off", log_level="warning", access_log=False)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
