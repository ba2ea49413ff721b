"""Which events came, how often and when last: counted in memory, in bounded room, until somebody writes it down."""

from collections import Counter
from collections.abc import Container
from typing import Final, NamedTuple

__all__ = ["MAX_NAMES", "OTHER", "Seen", "Sighting"]

MAX_NAMES: Final = 2_000
"""How many names that the catalog does not know are counted one by one in a workspace."""

OTHER: Final = "$other"
"""Under this name all further ones of a source are counted together: nobody fills memory or table with names."""

Key = tuple[str, str, str]
"""(workspace, source, name)."""


class Sighting(NamedTuple):
    """What came of one name from one source since it was last written down; times in ms.

    `flagged` of the `events` were accepted though the catalog does not know them, or describes them otherwise.
    """

    workspace: str
    source: str
    name: str
    events: int
    first: int
    last: int
    flagged: int


class Seen:
    """Counts events by workspace, source and name. To be used by one thread, that of the event loop.

    `counters` holds [events, first, last, flagged] per key, and is open to the plan: a call per event would cost more
    than the counting. `flags` counts by flag what was flagged since the start; `warned` collects the
    (workspace, source) of those who are to be told of it.
    """

    def __init__(self, known: Container[str]) -> None:
        """`known` are the names that are always counted one by one."""
        self.counters: dict[Key, list[int]] = {}
        self.flags: Counter[str] = Counter()
        self.warned: set[tuple[str, str]] = set()
        self._known = known
        self._strangers: Counter[str] = Counter()

    def flag(self, workspace: str, source: str, flag: str, *, warn: bool) -> None:
        """Count a flag; `warn`: the source is to be told."""
        self.flags[flag] += 1
        if warn:
            self.warned.add((workspace, source))

    def begin(self, key: Key, at: int, *, flagged: bool) -> None:
        """Count the first event of a name; one that is one too many counts as `OTHER`."""
        workspace, source, name = key
        if name not in self._known:
            if self._strangers[workspace] >= MAX_NAMES:
                name = OTHER
            else:
                self._strangers[workspace] += 1
        self._count(Sighting(workspace, source, name, 1, at, at, int(flagged)))

    def _count(self, seen: Sighting) -> None:
        counter = self.counters.setdefault(seen[:3], [0, seen.first, seen.last, 0])
        if counter[0]:
            counter[1], counter[2] = min(counter[1], seen.first), max(counter[2], seen.last)
        else:
            counter[1], counter[2] = seen.first, seen.last
        counter[0] += seen.events
        counter[3] += seen.flagged

    def take(self) -> list[Sighting]:
        """What came since the last time. Names keep their places, so that their number stays bounded."""
        taken = []
        for key, counter in self.counters.items():
            if counter[0]:
                taken.append(Sighting(*key, *counter))
                counter[0] = counter[3] = 0
        return taken

    def give_back(self, taken: list[Sighting]) -> None:
        """Count again what could not be written down."""
        for each in taken:
            self._count(each)
