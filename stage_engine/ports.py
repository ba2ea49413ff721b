"""What the stage engine's API needs from outside."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from tracks.domain.rows import StageRow

__all__ = ["Now", "SegmentPlaces"]

Now = Callable[[], int]
"""Wall time in ms."""


class SegmentPlaces(Protocol):
    """Knows in which segments subjects are: a segment is a track."""

    def places(self, workspace: str, subjects: Iterable[str]) -> Mapping[str, Sequence[StageRow]]:
        """The present segments of each of these subjects. Synchronous."""
