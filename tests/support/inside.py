"""A whole system inside the test's own process, on the embedded shape, with a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from services.bootstrap import Replacements
from services.eventlog.port import EventLog
from services.processes.all_in_one import running_system
from services.processes.system import System
from services.runtime.clock import ManualClock
from services.runtime.options import WorkerOptions
from services.settings import Settings
from tests.support.poster import Door
from tests.support.settling import open_work, unread
from tests.support.states import StoredState
from tests.support.system import API_TOKEN, WRITE_KEY

__all__ = ["SETTLE", "SETTLE_HISTORY", "Inside", "inside"]

SETTLE = 1_000
SETTLE_HISTORY = 3_000
PARTITIONS = 4
_PATIENCE_SECONDS = 30.0


class Inside:
    """Posts over HTTP, moves the clock, waits for rest, and looks into what is stored."""

    def __init__(self, system: System, clock: ManualClock) -> None:
        """Made by `inside`."""
        self.system = system
        self.clock = clock
        self.state = StoredState(system.settings.data_dir)
        self._door = Door(system.port, WRITE_KEY)

    async def post(self, events: Sequence[bytes]) -> int:
        """Post JSON events as one batch; return the status."""
        body = b'{"batch":[' + b",".join(events) + b"]}"
        return (await asyncio.to_thread(self._door.post, body)).status

    async def rest(self) -> None:
        """Wait until nothing is left to do at the present time of the clock."""
        log = self.system.container.log
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await self._busy(log):  # noqa: ASYNC110 - rest is a state of tables; nobody tells when it is there
                await asyncio.sleep(0.01)

    async def silence(self, milliseconds: int = SETTLE + SETTLE_HISTORY + 1) -> None:
        """Let time pass in which nobody sends anything, and wait until nothing is left to do."""
        self.clock.move(milliseconds)
        await self.rest()

    async def _busy(self, log: EventLog) -> bool:
        still = await asyncio.to_thread(open_work, self.state, PARTITIONS, self.clock.now() - SETTLE)
        return still is not None or await unread(self.state, log) is not None

    def close(self) -> None:
        """End the connection to the door."""
        self._door.close()


@asynccontextmanager
async def inside(folder: Path, now: int, definitions: Path, log: EventLog | None = None) -> AsyncIterator[Inside]:
    """The system, running until the block ends; its clock stands at `now` (ms). `log` replaces the embedded log."""
    clock = ManualClock(now)
    settings = Settings(
        port=0,
        data_dir=folder,
        definitions_dir=definitions,
        write_key=WRITE_KEY,
        api_token=API_TOKEN,
        partitions=PARTITIONS,
        settle=SETTLE,
        settle_history=SETTLE_HISTORY,
    )
    options = WorkerOptions(settle=SETTLE, poll_ms=20, progress_every=0.02)
    async with running_system(settings, replacements=Replacements(clock=clock, log=log, options=options)) as system:
        found = Inside(system, clock)
        try:
            yield found
        finally:
            found.close()
