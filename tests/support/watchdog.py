"""Kills the services of a test run that is gone: `python -m tests.support.watchdog <process id> <folder>`.

Services note their process ids in `folder`/*.pid. The watchdog ends by itself when the folder is gone.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["main"]

_LOOK_SECONDS = 0.5


def main(owner: int, folder: Path) -> None:
    """Wait for the end of the process `owner` or of the folder."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(owner)
        while folder.exists() and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_LOOK_SECONDS)
    for noted in folder.glob("*.pid"):
        with suppress(OSError, ValueError, psutil.Error):
            number, created = noted.read_text().split()
            if abs(psutil.Process(int(number)).create_time() - float(created)) < 1:
                os.kill(int(number), signal.SIGKILL)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(int(sys.argv[1]), Path(sys.argv[2]))
