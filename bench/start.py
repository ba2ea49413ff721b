"""How long a start takes and what it keeps in memory: `parcours run` on a fresh folder, and on a used one.

Run it as `python -m bench.start`. It prints the seconds from the start of the process until the first answer of
``/readyz``, against a bare Python process that only imports the web framework, and the resident memory (MB) when idle
and after a burst of events.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from localservers.processes import free_port

__all__ = ["main"]

WRITE_KEY = "bench-write-key"
EVENTS = 20_000
BATCH = 500
PATIENCE = 120.0


def _started(folder: Path, port: int) -> tuple[subprocess.Popen[bytes], float]:
    environment = {
        **os.environ,
        "PARCOURS_DATA_DIR": str(folder),
        "PARCOURS_PORT": str(port),
        "PARCOURS_WRITE_KEY": WRITE_KEY,
        "PARCOURS_API_TOKEN": "bench-api-token",
        "PARCOURS_LOG_LEVEL": "ERROR",
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "run"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while time.perf_counter() - began < PATIENCE:
        if process.poll() is not None:
            raise SystemExit("parcours run ended before it was ready.")
        if _settled(port) is not None:
            return process, time.perf_counter() - began
        time.sleep(0.01)
    raise SystemExit("parcours run was not ready in time.")


def _settled(port: int) -> bool | None:
    """Whether all that was posted is processed and published; None while the server does not say that it is ready."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            ready = json.load(answer)
    except (HTTPError, URLError, OSError):
        return None
    partitions = [part for worker in ready["workers"] for part in worker["partitions"]]
    return all(part["lag"] == 0 and part["unpublished"] == 0 for part in partitions)


def _post(port: int) -> None:
    credentials = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    for first in range(0, EVENTS, BATCH):
        batch = [
            {"type": "track", "event": "Signed In", "userId": f"user-{number % 5_000}", "messageId": f"m-{number}"}
            for number in range(first, first + BATCH)
        ]
        request = Request(
            f"http://127.0.0.1:{port}/v1/batch",
            data=json.dumps({"batch": batch}).encode(),
            headers={"Authorization": f"Basic {credentials}"},
        )
        with urlopen(request, timeout=10) as answer:
            answer.read()


def _resident(process: subprocess.Popen[bytes]) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 1_048_576


def _bare() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import fastapi, uvicorn"], check=True)
    return time.perf_counter() - began


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="bench.start", description=__doc__).parse_args(arguments)
    bare = _bare()
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("a fresh folder", "the used folder"):
            port = free_port()
            process, seconds = _started(Path(folder), port)
            idle = _resident(process)
            _post(port)
            deadline = time.perf_counter() + PATIENCE
            while not _settled(port) and time.perf_counter() < deadline:
                time.sleep(0.1)
            used = _resident(process)
            process.terminate()
            process.wait(timeout=30)
            print(f"start on {kind:<16} {seconds:6.2f} s, {seconds / bare:4.1f} x a bare import of the web framework")
            print(f"resident, idle {idle:18.0f} MB; after {EVENTS:,} events of 5,000 customers {used:.0f} MB")


if __name__ == "__main__":
    main()
