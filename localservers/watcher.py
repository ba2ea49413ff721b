"""Ends a local server whose owner is gone: ``python -m localservers.watcher OWNER FOLDER``."""

import sys
import time
from pathlib import Path

import psutil

from localservers.processes import ServerProcess

INTERVAL = 0.5


def main(owner: int, folder: Path) -> None:
    """Wait until the process `owner` is gone or the folder is deleted; in the first case discard the server."""
    try:
        process = psutil.Process(owner)
        while folder.exists() and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(INTERVAL)
    except psutil.NoSuchProcess:
        pass
    if folder.exists():
        ServerProcess("The server", folder).discard()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
