"""The client of the fault tests: posts a population while things break, and remembers what was acknowledged."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.population import Population
from tests.support.poster import Door, batched

__all__ = ["Flow"]

_BATCH = 20
_PATIENCE_SECONDS = 300.0
_PRESSING_SECONDS = 0.05


class Flow:
    """Posts in small batches over a few connections, again and again until each is acknowledged."""

    def __init__(self, port: int, write_key: str, population: Population, seconds: float, connections: int = 3) -> None:
        """Takes about `seconds` unless it is told to hurry."""
        chunks = [
            range(start, min(start + _BATCH, len(population.ids))) for start in range(0, len(population.ids), _BATCH)
        ]
        self._population = population
        self._chunks: Iterator[range] = iter(chunks)
        self._pause = seconds * connections / len(chunks)
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._pressing = False
        self._failures: list[BaseException] = []
        self.acknowledged: set[str] = set()
        self.requests = 0
        self.attempts = 0
        self._threads = [
            threading.Thread(target=self._work, args=(Door(port, write_key),), name=f"flow-{number}", daemon=True)
            for number in range(connections)
        ]

    def start(self) -> None:
        """Begin to post."""
        for thread in self._threads:
            thread.start()

    @property
    def flowing(self) -> bool:
        """Whether there is still something to post."""
        return any(thread.is_alive() for thread in self._threads)

    @contextmanager
    def pressing(self) -> Iterator[None]:
        """Inside, post faster: what is acknowledged is followed at once by more."""
        self._pressing = True
        try:
            yield
        finally:
            self._pressing = False

    def finish(self) -> None:
        """Post the rest at once and wait for it. Raises what went wrong in any connection."""
        self._hurry.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _work(self, door: Door) -> None:
        try:
            while (chunk := self._next()) is not None:
                attempts = door.deliver(self._body(chunk), _PATIENCE_SECONDS)
                with self._lock:
                    self.requests += 1
                    self.attempts += attempts
                    self.acknowledged.update(self._population.ids[index] for index in chunk)
                self._hurry.wait(min(self._pause, _PRESSING_SECONDS) if self._pressing else self._pause)
        except BaseException as error:  # told to whoever waits for the end
            self._failures.append(error)
        finally:
            door.close()

    def _next(self) -> Sequence[int] | None:
        with self._lock:
            return None if self._failures else next(self._chunks, None)

    def _body(self, chunk: Sequence[int]) -> bytes:
        return next(batched((self._population.lines[index] for index in chunk), _BATCH))
