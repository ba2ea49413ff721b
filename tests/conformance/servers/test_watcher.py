"""No server outlives whoever wanted it."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from localservers import LocalServerFailed, PostgresServer
from localservers.processes import ServerProcess

ROOT = Path(__file__).resolve().parents[3]
STARTS_AND_WAITS = """
import time
from localservers import PostgresServer
server = PostgresServer(synced=False)
server.start()
print(server.pid, server.folder, flush=True)
time.sleep(60)
"""


@pytest.mark.faults
def test_a_killed_owner_leaves_neither_a_server_nor_its_folder() -> None:
    owner = subprocess.Popen([sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    assert psutil.pid_exists(int(pid))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


def test_a_server_that_ends_while_it_starts_says_its_last_words(tmp_path: Path) -> None:
    process = ServerProcess("The server", tmp_path)
    process.spawn([sys.executable, "-c", "raise SystemExit('no room for a server')"], {})
    with pytest.raises(LocalServerFailed, match=r"The server ended while it started: no room for a server"):
        process.wait_until(lambda: False, within=20)


def test_a_server_that_is_never_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    process = ServerProcess("The server", tmp_path)
    process.spawn([sys.executable, "-c", "import time; time.sleep(60)"], {})
    with pytest.raises(LocalServerFailed, match=r"was not ready within 0 s: see .*server\.log"):
        process.wait_until(lambda: False, within=0.2)
    process.kill()
    assert process.pid is None


async def test_a_paused_postgresql_answers_nobody_until_it_is_resumed(own_postgres_server: PostgresServer) -> None:
    host, port = own_postgres_server.url.rpartition("@")[2].partition("/")[0].split(":")
    own_postgres_server.pause()
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write((8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big"))  # asks whether it speaks TLS
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.5)
        own_postgres_server.resume()
        assert await asyncio.wait_for(reader.read(1), 10) in (b"N", b"S")
        writer.close()
    finally:
        own_postgres_server.resume()
