"""The door that is measured, as a process: `parcours ingest`, on whichever shape the settings name.

On the embedded shape that is the product's process without its engines, which would take their part of the core. What
follows the first event for half a minute is left out: it would look for what no engine here ever does.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from services.processes.logs import configure_logging
from services.processes.running import run_process
from services.processes.system import running_system
from services.settings import Settings, load_settings

_SWITCH_SECONDS: Final = 0.0005


async def _serve(settings: Settings, stop: asyncio.Event, is_up: Callable[[], None]) -> None:
    async with running_system(settings, ("ingest",)):
        is_up()
        await stop.wait()


def _main() -> int:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(_SWITCH_SECONDS)
    return run_process(lambda stop, is_up: _serve(settings, stop, is_up))


if __name__ == "__main__":
    sys.exit(_main())
