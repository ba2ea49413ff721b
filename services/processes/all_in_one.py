"""`parcours run`: the door, the API, the pages, both engines and the notifier in one process."""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Final

from services.bootstrap import SERVICES
from services.processes.logs import configure_logging
from services.processes.running import run_process
from services.processes.system import System, running_system
from services.settings import Settings

__all__ = ["run_all_in_one", "run_services", "running_system", "say"]

log = logging.getLogger(__name__)

_SWITCH_SECONDS: Final = 0.0005


def say(line: str) -> None:
    """Print a line for the person at the terminal."""
    print(line, flush=True)


def run_all_in_one(settings: Settings) -> int:
    """Run everything in this process until SIGTERM or SIGINT; return the exit code."""
    return run_services(settings, SERVICES)


def run_services(settings: Settings, services: tuple[str, ...]) -> int:
    """Run services in this process until SIGTERM or SIGINT, then drain them; return the exit code."""
    configure_logging(settings.log_level, settings.log_format)
    return run_process(lambda stop, is_up: _serve(settings, services, stop, is_up))


async def _serve(settings: Settings, services: tuple[str, ...], stop: asyncio.Event, is_up: Callable[[], None]) -> None:
    # Engines compute in threads; the event loop, which answers requests, must not wait long for its turn.
    sys.setswitchinterval(_SWITCH_SECONDS)
    async with running_system(settings, services, say=say) as system:
        is_up()
        await _greet(system)
        await stop.wait()


async def _greet(system: System) -> None:
    if system.settings.log_format == "json":
        log.info("process.ready", extra={"address": system.address, "services": system.services})
    elif system.welcome is not None:
        for line in await asyncio.to_thread(system.welcome):
            say(line)
    else:
        names = ", ".join(system.services)
        say(f"{names}: {system.address}/readyz")
