"""What the door counts and times, for whoever watches it. Labels come from closed sets: no key, name or id is one."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

__all__ = ["Family", "Histogram", "Measures"]

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)
EVENTS: Final = (1.0, 10.0, 100.0, 250.0, 1_000.0, 10_000.0)

Samples = list[tuple[Mapping[str, str], float]]


class Family(NamedTuple):
    """One metric as Prometheus understands it: its name without a prefix, `counter`, `gauge` or `histogram`, and a line
    on it. What a sample is called beyond the name, its label ``""`` says: `_bucket`, `_sum` or `_count` of a histogram.
    """

    name: str
    kind: str
    meaning: str
    samples: Samples


class Histogram:
    """How many observations were at most as great as each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """`bounds` in ascending order."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[str, int]]:
        """(bound, observations up to it), the last one without a bound."""
        return zip((*(f"{bound:g}" for bound in self._bounds), "+Inf"), accumulate(self._counts), strict=True)


class Measures:
    """What one door did since its process started; `rejected` and `refused` by code, `limited` by source."""

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        """`monotonic` answers seconds; None: nothing is timed."""
        self.now: Callable[[], float] = monotonic or _no_time
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.requests: dict[tuple[str, int], Histogram] = {}
        self.batches = Histogram(EVENTS)
        self.log = Histogram(SECONDS)

    def answered(self, kind: str, status: int, began: float) -> None:
        """A request of that kind, complete at `began` by `now`, is answered."""
        key = (kind, status // 100)
        found = self.requests.get(key)
        if found is None:
            found = self.requests[key] = Histogram(SECONDS)
        found.observe(self.now() - began)

    def stored(self, kind: str, began: float) -> None:
        """A request of that kind was answered as soon as the log had taken all of it."""
        took = self.now() - began
        self.log.observe(took)
        found = self.requests.get((kind, 2))
        if found is None:
            found = self.requests[kind, 2] = Histogram(SECONDS)
        found.observe(took)

    def families(self, in_flight: int) -> list[Family]:
        """All of it. `in_flight` are the bytes of the requests under way."""
        requests = sorted(self.requests.items())
        return [
            Family("events_accepted_total", "counter", "events durable on the log", [({}, float(self.accepted))]),
            _counted("events_rejected_total", "events kept on parcours.rejected, by code", "code", self.rejected),
            _counted("requests_refused_total", "tracking requests refused, by code", "code", self.refused),
            _counted("requests_limited_total", "tracking requests over a limit, by source", "source", self.limited),
            Family("ingest_in_flight_bytes", "gauge", "bytes of the requests under way", [({}, float(in_flight))]),
            _histogram("ingest_request_seconds", "from a whole request to its answer",
                        [({"kind": kind, "status": f"{status}xx"}, found) for (kind, status), found in requests]),
            _histogram("ingest_log_seconds", "how long the event log took for an append", [({}, self.log)]),
            _histogram("ingest_batch_events", "events per request", [({}, self.batches)]),
        ]  # fmt: skip


def _no_time() -> float:
    return 0.0


def _counted(name: str, meaning: str, label: str, counts: Counter[str]) -> Family:
    return Family(name, "counter", meaning, [({label: key}, float(number)) for key, number in sorted(counts.items())])


def _histogram(name: str, meaning: str, found: Sequence[tuple[Mapping[str, str], Histogram]]) -> Family:
    samples: Samples = []
    for labels, each in found:
        samples += [({"": "_bucket", **labels, "le": bound}, float(number)) for bound, number in each.buckets()]
        samples += [({"": "_sum", **labels}, each.sum), ({"": "_count", **labels}, float(each.count))]
    return Family(name, "histogram", meaning, samples)
