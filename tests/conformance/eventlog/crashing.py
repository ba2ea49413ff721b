"""A process that uses a log until it is killed: ``crashing.py KIND ADDRESS PREFIX WHAT START``.

It prints a line with the highest number that was acknowledged, after each acknowledgment.
"""

import asyncio
import sys
from pathlib import Path

from services.eventlog.port import EventLog, PublisherState
from tests.conformance.eventlog.support import Store, event, outbox

ENDLESS = 1_000_000


async def appending(log: EventLog) -> None:
    """Append numbered events, ten at a time, from the first number that is not known to be free."""
    writer = log.writer()
    number = int(sys.argv[5])
    while True:
        assert not any(await writer.append([event(number + more) for more in range(10)]))
        number += 10
        print(number - 1, flush=True)


async def publishing(log: EventLog) -> None:
    """Publish an endless outbox, seven rows at a time."""
    publisher = log.publisher("stage_engine", 1)
    last = await publisher.open(PublisherState(ENDLESS, 0))
    while True:
        await publisher.publish(outbox(last + 1, last + 7))
        last += 7
        print(last, flush=True)


async def main() -> None:
    """Open the log and begin."""
    kind, address, prefix, what = sys.argv[1:5]
    store = Store.embedded(Path(address).parent) if kind == "embedded" else Store.kafka(address, prefix)
    log = await store.open()
    await (appending(log) if what == "append" else publishing(log))


if __name__ == "__main__":
    asyncio.run(main())
