"""The stage engine's processor: lifecycles run on what is accepted and routed."""

from collections.abc import Sequence

from behavior import Definition
from schemas.times import MINUTE, SECOND
from schemas.topics import CONTROL, EVENTS, ROUTED, STAGE_CHANGES
from stage_engine.tables import tables
from tracks.engine import Engine
from tracks.handler import TrackProcessor
from tracks.store import TrackStore

__all__ = ["StageProcessor"]

_WARM_SUBJECTS = 50_000
"""About 250 MB. Fewer save nothing where more subjects are at work: those in between live in both forms in turn."""


class StageProcessor(TrackProcessor):
    """Folds every event of a user, visitor or account under the lifecycles for its kind.

    Publishes `parcours.stage.changed` and `parcours.stage.corrected`. `settle` and `settle_history` are in ms;
    `partitions` is the number of partitions of every topic (0: a record's partition is not checked).
    """

    def __init__(
        self,
        lifecycles: Sequence[Definition],
        *,
        settle: int = 5 * SECOND,
        settle_history: int = MINUTE,
        partitions: int = 0,
    ) -> None:
        """The names of `lifecycles` are distinct."""
        engine = Engine(
            name="stage_engine",
            source="/parcours/stage_engine",
            definitions=tuple(lifecycles),
            inputs=(CONTROL, EVENTS, ROUTED),
            output_topic=STAGE_CHANGES,
            changed_type="parcours.stage.changed",
            corrected_type="parcours.stage.corrected",
            progress_type="parcours.stage.progress",
            settle=settle,
            settle_history=settle_history,
            partitions=partitions,
            warm_subjects=_WARM_SUBJECTS,
        )
        super().__init__(engine, TrackStore(tables))
