"""What the door costs: one worker on a real Apache Kafka, against a plain FastAPI route with one send() per event.

Run it as `python -m bench.door`. In one run, for batches of 100 and for single events, it prints events per second, CPU
microseconds of the server per event, and the ratio of the two servers. Both get the same bytes over the same number of
connections, for the same few seconds.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from bench.door_server import now
from localservers import KafkaServer
from localservers.processes import free_port
from schemas.times import format_instant

__all__ = ["Measured", "main"]

BATCH = 100
CUSTOMERS = 20_000
CONNECTIONS = 64
WARM_SECONDS = 1.5


class Measured(NamedTuple):
    """What one server did with one kind of request: events per second, and its CPU microseconds per event."""

    rate: float
    cpu: float


def _event(dice: random.Random) -> dict[str, object]:
    """An event as an SDK sends it."""
    return {
        "integrations": {},
        "anonymousId": None,
        "properties": {"plan": "pro", "revenue": dice.randrange(100) + 0.5, "coupon": None, "items": [1, 2]},
        "timestamp": format_instant(now()).replace("Z", "+00:00"),
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
        "userId": f"user-{dice.randrange(CUSTOMERS)}",
        "type": "track",
        "event": dice.choice(["Order Completed", "Signed In", "Feature Used"]),
        "messageId": str(uuid.UUID(int=dice.getrandbits(128))),
    }


def _request(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic YmVuY2g6\r\n"
        "User-Agent: analytics-python/2.4.0\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _requests(size: int, dice: random.Random) -> list[bytes]:
    if size == 1:
        return [_request("/v1/track", _event(dice)) for _ in range(2_000)]
    batches = ([_event(dice) for _ in range(size)] for _ in range(300))
    return [_request("/v1/batch", {"batch": batch, "sentAt": format_instant(now())}) for batch in batches]


async def _client(port: int, requests: Sequence[bytes], until: float, counts: list[int]) -> None:
    """One connection: a request, its answer, the next request, until the time is up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    dice = random.Random(len(counts))
    counts.append(0)
    place = len(counts) - 1
    while perf_counter() < until:
        writer.write(dice.choice(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"The server answered {answer.decode(errors='replace')[:200]}")
        counts[place] += 1
    writer.close()


async def _load(port: int, requests: Sequence[bytes], seconds: float) -> tuple[int, float]:
    """Answered requests, and the seconds they took."""
    started = perf_counter()
    counts: list[int] = []
    await asyncio.gather(*(_client(port, requests, started + seconds, counts) for _ in range(CONNECTIONS)))
    return sum(counts), perf_counter() - started


def _cpu(port: int) -> float:
    with urlopen(f"http://127.0.0.1:{port}/cpu") as answer:
        return float(answer.read())


def _wait_until_it_answers(port: int, server: subprocess.Popen[bytes]) -> None:
    started = perf_counter()
    while perf_counter() - started < 30 and server.poll() is None:
        try:
            _cpu(port)
        except URLError:
            continue
        return
    raise SystemExit("The server did not start; its own words stand above.")


def _measure(
    kind: str, bootstrap_servers: str, load: Sequence[tuple[int, Sequence[bytes]]], seconds: float
) -> list[Measured]:
    port = free_port()
    command = [sys.executable, "-m", "bench.door_server", kind, bootstrap_servers, str(port)]
    server = subprocess.Popen(command)
    measured = []
    try:
        _wait_until_it_answers(port, server)
        for size, requests in load:
            asyncio.run(_load(port, requests, WARM_SECONDS))
            before = _cpu(port)
            answered, took = asyncio.run(_load(port, requests, seconds))
            events = answered * size
            measured.append(Measured(events / took, (_cpu(port) - before) / events * 1e6))
    finally:
        server.terminate()
        server.wait(20)
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.door", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default 4)")
    parser.add_argument("--bootstrap-servers", help="an Apache Kafka to use instead of starting one")
    given = parser.parse_args(arguments)
    dice = random.Random(7)
    load = [(size, _requests(size, dice)) for size in (BATCH, 1)]
    with ExitStack() as stack:
        bootstrap_servers = given.bootstrap_servers
        if bootstrap_servers is None:
            kafka = KafkaServer()
            stack.callback(kafka.discard)
            stack.callback(kafka.stop)
            kafka.start()
            bootstrap_servers = kafka.bootstrap_servers
        plain = _measure("plain", bootstrap_servers, load, given.seconds)
        ours = _measure("ours", bootstrap_servers, load, given.seconds)
    for place, (size, _) in enumerate(load):
        what = "single events" if size == 1 else f"batches of {size}"
        print(f"door, {what}, one worker, Apache Kafka:")
        for name, found in (("parcours", ours[place]), ("plain FastAPI + send()", plain[place])):
            print(f"  {name:24} {found.rate:9,.0f} events/s  {found.cpu:7.1f} us CPU per event")
        rate, cpu = ours[place].rate / plain[place].rate, plain[place].cpu / ours[place].cpu
        print(f"  ratio                    {rate:9.1f} x in events/s, {cpu:.1f} x in CPU")


if __name__ == "__main__":
    main()
