"""States kept in memory: per partition, the subjects used last; of most of them only the stored form."""

from collections.abc import Iterable

from tracks.domain.rows import SubjectRow
from tracks.domain.subjects import Subject, row_of_subject, subject_of_row
from tracks.engine import Engine

__all__ = ["SubjectCache"]

_LEAST = 256


class SubjectCache:
    """Subjects of the owned partitions by record key. One thread at a time per partition.

    The latest are kept as they are (`Engine.warm_subjects`), older ones as rows, which take a fifth of the space
    (`Engine.cached_subjects`).
    """

    def __init__(self, engine: Engine) -> None:
        """Empty; owns nothing."""
        self._engine = engine
        self._warm: dict[int, dict[bytes, Subject]] = {}
        self._cold: dict[int, dict[bytes, SubjectRow]] = {}

    def begin(self, partition: int) -> None:
        """Own a partition, with nothing known of it."""
        self._warm[partition] = {}
        self._cold[partition] = {}

    def forget(self, partition: int) -> None:
        """Drop everything known of a partition."""
        self._warm.pop(partition, None)
        self._cold.pop(partition, None)

    def find(self, partition: int, key: bytes) -> Subject | None:
        """The subject of a record key, if it is kept. Whoever changes it gives it to `keep`, or the partition up."""
        warm = self._warm.get(partition)
        if warm is None:
            return None
        subject = warm.get(key)
        if subject is not None:
            return subject
        row = self._cold[partition].pop(key, None)
        if row is None:
            return None
        warm[key] = subject = subject_of_row(row, self._engine.definitions_of(row.subject))
        return subject

    def keep(self, partition: int, subjects: Iterable[Subject]) -> None:
        """Put subjects, as they are stored now, in front; those unused for longest go."""
        warm = self._warm.get(partition)
        if warm is None:
            return
        for subject in subjects:
            warm.pop(subject.key, None)
            warm[subject.key] = subject
        cold = self._cold[partition]
        owned = len(self._warm)
        for key in _oldest(warm, self._engine.warm_subjects // owned):
            cold[key] = row_of_subject(warm.pop(key))
        for key in _oldest(cold, self._engine.cached_subjects // owned):
            del cold[key]


def _oldest(held: dict[bytes, Subject] | dict[bytes, SubjectRow], share: int) -> list[bytes]:
    excess = len(held) - max(_LEAST, share)
    return list(held)[:excess] if excess > 0 else []
