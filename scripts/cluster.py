"""`make cluster`: Apache Kafka, PostgreSQL and every service as a process of its own, on this machine, until Ctrl-C.

The data lives in a temporary folder and goes with it. With KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL set, these servers
are used instead, and nothing of theirs is removed.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from localservers import KafkaServer, LocalServerFailed, PostgresServer
from services.settings import InvalidSetting, Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("stage-engine", "segmenter", "notifier")
DRAIN_SECONDS = 12.0
LOOK_SECONDS = 0.2


class ClusterFailed(Exception):
    """A part of the cluster ended by itself. Its last line says why."""

    code = "cluster_failed"


def command(*arguments: str) -> list[str]:
    """A command of Parcours, run by this interpreter."""
    return [sys.executable, "-m", "services.cli", *arguments]


@contextmanager
def local_servers() -> Iterator[dict[str, str]]:
    """Both servers, started side by side; their addresses as settings. They and their data are gone at the end."""
    kafka, postgres = KafkaServer(), PostgresServer()
    try:
        with ThreadPoolExecutor(2) as threads:
            for started in [threads.submit(kafka.start), threads.submit(postgres.start)]:
                started.result()
        yield {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "DATABASE_URL": postgres.url}
    finally:
        for server in (kafka, postgres):
            server.discard()


class Services:
    """The processes of the services. They get no Ctrl-C of the terminal: they are told to drain."""

    def __init__(self, environment: Mapping[str, str], settings: Settings, each: int) -> None:
        """`each`: processes of each engine."""
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for engine in ENGINES:
            for number in range(1, each + 1):
                self._start(f"{engine} {number}" if each > 1 else engine, engine, 0)
        self._start("ingest", "ingest", settings.port)

    def _start(self, name: str, service: str, port: int) -> None:
        environment = self._environment | {"PARCOURS_PORT": str(port)}
        self._running[name] = subprocess.Popen(command(service), env=environment, cwd=ROOT, start_new_session=True)

    def watch(self) -> NoReturn:
        """Return never, but by an error. Raises `ClusterFailed` when a service ends by itself."""
        while True:
            for name, process in self._running.items():
                if (code := process.poll()) is not None:
                    raise ClusterFailed(f"{name} ended by itself (exit code {code}); its last line says why.")
            time.sleep(LOOK_SECONDS)

    def drain(self) -> None:
        """Let every service finish what is under way."""
        running = [process for process in self._running.values() if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + DRAIN_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def run(settings: Settings, each: int) -> int:
    """Start everything, and watch it until Ctrl-C; returns only the exit code of a migration that said why it failed.

    Raises `ClusterFailed`, `LocalServerFailed`.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="parcours-cluster-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = {**os.environ, "PARCOURS_DATA_DIR": str(folder / "data")}
        if settings.cluster:
            print(f"Using the servers at {settings.kafka_bootstrap_servers} and DATABASE_URL.", flush=True)
        else:
            print("Starting Apache Kafka and PostgreSQL ...", flush=True)
            environment |= stack.enter_context(local_servers())
            for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"):
                print(f"  {name}={environment[name]}", flush=True)
        if (code := subprocess.run(command("migrate"), env=environment, cwd=ROOT, check=False).returncode) != 0:
            return code
        services = Services(environment, settings, each)
        stack.callback(services.drain)
        print("Ctrl-C stops everything, in order.", flush=True)
        return services.watch()


def main(arguments: list[str]) -> int:
    """Run the cluster; return the exit code: 0 after Ctrl-C, 1 when a part failed, 2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog="make cluster", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--each", type=int, default=1, help="processes of each engine (default 1)")
    each: int = parser.parse_args(arguments).each
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(load_settings(), max(1, each))
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except (ClusterFailed, LocalServerFailed, InvalidSetting) as error:
        print(f"parcours: {error} [{error.code}]", file=sys.stderr)
        return 1 if isinstance(error, ClusterFailed) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
