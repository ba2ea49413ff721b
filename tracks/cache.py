"""States kept in memory: per partition, the subjects used last."""

from collections.abc import Iterable

from tracks.domain.subjects import Subject

__all__ = ["SubjectCache"]

_LEAST = 256


class SubjectCache:
    """Subjects of the owned partitions by record key. One thread at a time per partition."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is the number of subjects kept over all partitions."""
        self._capacity = capacity
        self._partitions: dict[int, dict[bytes, Subject]] = {}

    def begin(self, partition: int) -> None:
        """Own a partition, with nothing known of it."""
        self._partitions[partition] = {}

    def forget(self, partition: int) -> None:
        """Drop everything known of a partition."""
        self._partitions.pop(partition, None)

    def of(self, partition: int) -> dict[bytes, Subject]:
        """The subjects of a partition, those unused for longest first; whoever uses one reports it to `keep`."""
        return self._partitions.setdefault(partition, {})

    def keep(self, partition: int, subjects: Iterable[Subject]) -> None:
        """Put subjects at the end of the queue, and drop those unused for longest beyond the partition's share."""
        held = self.of(partition)
        for subject in subjects:
            held.pop(subject.key, None)
            held[subject.key] = subject
        share = max(_LEAST, self._capacity // max(1, len(self._partitions)))
        excess = len(held) - share
        if excess > 0:
            for key in list(held)[:excess]:
                del held[key]
