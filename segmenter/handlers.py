"""The segmenter's processor: segments run on events, and on the stages of lifecycles where they ask for them."""

from collections.abc import Sequence

from behavior import Definition
from schemas.records import StoredRecord
from schemas.times import MINUTE, SECOND
from schemas.topics import CONTROL, EVENTS, ROUTED, SEGMENT_CHANGES, STAGE_CHANGES
from segmenter.domain.facts import consulted_facts, read_facts
from segmenter.tables import tables
from tracks.engine import Engine
from tracks.handler import TrackProcessor
from tracks.reading import Facts, fact_arrival
from tracks.store import TrackStore

__all__ = ["SegmentProcessor"]


class SegmentProcessor(TrackProcessor):
    """Folds a subject's events, and the stages of lifecycles, under the segments for its kind.

    Only events that a segment names are stored, and each subject's first, with which its journey begins. Publishes
    `parcours.segment.changed` and `parcours.segment.corrected`. `settle` and `settle_history` are in ms; `partitions`
    is the number of partitions of every topic (0: a record's partition is not checked).
    """

    def __init__(
        self,
        segments: Sequence[Definition],
        *,
        settle: int = 5 * SECOND,
        settle_history: int = MINUTE,
        partitions: int = 0,
    ) -> None:
        """The names of `segments` are distinct."""
        engine = Engine(
            name="segmenter",
            source="/parcours/segmenter",
            definitions=tuple(segments),
            inputs=(CONTROL, EVENTS, ROUTED, STAGE_CHANGES),
            output_topic=SEGMENT_CHANGES,
            changed_type="parcours.segment.changed",
            corrected_type="parcours.segment.corrected",
            progress_type="parcours.segment.progress",
            keeps_every_event=False,
            settle=settle,
            settle_history=settle_history,
            partitions=partitions,
        )
        super().__init__(engine, TrackStore(tables))
        self._consulted = consulted_facts(segments)

    def facts(self, record: StoredRecord) -> Facts:
        """What a record of stage changes adds to its subject's set, or takes out. Raises `BadRecord`."""
        if record.topic != STAGE_CHANGES:
            return Facts()
        found = read_facts(record, self._consulted)
        return Facts(tuple(fact_arrival(record, row) for row in found.added), found.withdrawn)
