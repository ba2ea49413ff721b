"""The servers that the door is compared with, as processes: `python -m bench.ingest.contenders KIND PORT`.

`bare PORT` reads a request and answers 202: what HTTP alone costs under uvicorn. `plain PORT BOOTSTRAP TOPIC` is what
one would write first: a FastAPI route, pydantic models, and one send() per event, acks=all and idempotent, answered
when all are stored.
"""

import asyncio
import sys
from typing import Any

import uvicorn
import uvloop
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.events import Batch, TrackEvent
from schemas.ids import DEFAULT_WORKSPACE, record_key, user_subject


async def _bare(_scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def _plain(producer: AIOKafkaProducer, topic: str) -> FastAPI:
    app = FastAPI()

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

    return app


async def _serve(app: ASGIApp, port: int) -> None:
    config = uvicorn.Config(app, port=port, http="httptools", lifespan="off", log_level="warning", access_log=False)
    await uvicorn.Server(config).serve()


async def _serve_plain(port: int, bootstrap_servers: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await _serve(_plain(producer, topic), port)
    finally:
        await producer.stop()


if __name__ == "__main__":
    kind, number, *more = sys.argv[1:]
    uvloop.run(_serve(_bare, int(number)) if kind == "bare" else _serve_plain(int(number), *more))
