"""Collects what a batch changes: rows to write, and records to publish."""

from collections.abc import Sequence
from hashlib import blake2b

from behavior import State, Transition
from schemas.processing import Output
from schemas.records import cloud_event_headers
from tracks.domain.changes import Journey, encode_change, encode_correction
from tracks.domain.corrections import append, repair
from tracks.domain.rows import StageRow, TransitionRow
from tracks.engine import Engine
from tracks.ports import Transaction
from tracks.store import TrackStore

__all__ = ["Results"]

_CORRECTED_AT_ONCE = 400  # a record of so many changes stays below the size limit of its topic


class Results:
    """The transitions, present stages and outputs of one batch, in the order in which subjects were folded."""

    def __init__(self, engine: Engine) -> None:
        """`engine` names the output topic and its types."""
        self.outputs: list[Output] = []
        self._engine = engine
        self._added: list[TransitionRow] = []
        self._retracted: list[TransitionRow] = []
        self._stages: dict[tuple[str, str, str, str], StageRow] = {}

    def append(
        self, key: bytes, journey: Journey, stored: Sequence[TransitionRow], transitions: Sequence[Transition]
    ) -> None:
        """Transitions that follow a journey; `stored` are all its rows if some were taken back, else none."""
        rows = append(journey, stored, transitions)
        self._added += rows
        name = journey.definition.name
        for row in rows:
            self._stages[row.workspace, row.subject, name, row.track] = StageRow(
                row.workspace, row.subject, name, row.track, row.to_stage, row.effective_at, row.visit, row.reason
            )
            self.outputs.append(
                Output(
                    self._engine.output_topic,
                    key,
                    encode_change(row),
                    cloud_event_headers(
                        f"{row.id}:{row.revision}",
                        self._engine.changed_type,
                        self._engine.source,
                        row.effective_at,
                        row.subject,
                    ),
                    row.recorded_at,
                )
            )

    def repair(
        self,
        key: bytes,
        journey: Journey,
        stored: Sequence[TransitionRow],
        folded: tuple[State, Sequence[Transition]],
        cause: str,
    ) -> int:
        """A journey folded anew, against all its rows; returns the latest instant that was taken back (ms), or 0."""
        state, transitions = folded
        found = repair(journey, stored, transitions)
        if not (found.retracted or found.added):
            return 0
        self._retracted += found.retracted
        self._added += found.added
        name = journey.definition.name
        for track, here in zip(journey.definition.tracks, state.tracks, strict=True):
            self._stages[journey.workspace, journey.subject, name, track.name] = StageRow(
                journey.workspace, journey.subject, name, track.name, here.stage, here.since, here.visit, here.reason
            )
        changes = [(row, False) for row in found.retracted] + [(row, True) for row in found.added]
        for start in range(0, len(changes), _CORRECTED_AT_ONCE):
            self._correct(key, journey, changes[start : start + _CORRECTED_AT_ONCE], cause)
        return max((row.effective_at for row in found.retracted), default=0)

    def _correct(self, key: bytes, journey: Journey, changes: Sequence[tuple[TransitionRow, bool]], cause: str) -> None:
        retracted = [row for row, added in changes if not added]
        added = [row for row, added in changes if added]
        names = " ".join(f"{'+' if added else '-'}{row.id}:{row.revision}" for row, added in changes)
        self.outputs.append(
            Output(
                self._engine.output_topic,
                key,
                encode_correction(journey, cause, retracted, added),
                cloud_event_headers(
                    blake2b(names.encode(), digest_size=16).hexdigest(),
                    self._engine.corrected_type,
                    self._engine.source,
                    journey.recorded_at,
                    journey.subject,
                ),
                journey.recorded_at,
            )
        )

    def write(self, transaction: Transaction, store: TrackStore, now: int) -> None:
        """Store the rows; `now` (ms) is when what does not stand any more was superseded."""
        store.supersede(transaction, self._retracted, now)
        store.append_transitions(transaction, self._added)
        store.save_stages(transaction, list(self._stages.values()))
        self._added, self._retracted, self._stages = [], [], {}
