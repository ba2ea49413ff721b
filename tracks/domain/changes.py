"""From the machine's transitions to stored rows and published changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from behavior import Definition, Transition
from schemas.changes import Because, TrackChange, TrackCorrected
from schemas.times import format_instant
from tracks.domain.rows import TransitionRow

__all__ = ["Journey", "change_of", "corrected_of", "row_of", "transition_id"]

_encode = msgspec.json.Encoder().encode
_because = msgspec.json.Decoder(Because)
_actions = msgspec.json.Decoder(tuple[dict[str, Any], ...])


@dataclass(frozen=True, slots=True)
class Journey:
    """Whose transitions are recorded, under which definition, and when (ms)."""

    workspace: str
    subject: str
    partition: int
    definition: Definition
    recorded_at: int


def transition_id(journey: Journey, transition: Transition) -> str:
    """The name of a transition, the same in every replay: 32 hexadecimal digits."""
    parts = (
        journey.workspace,
        journey.subject,
        journey.definition.name,
        transition.track,
        str(transition.at),
        str(transition.ordinal),
        transition.from_ or "",
        transition.to,
        transition.transition,
    )
    return blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def row_of(journey: Journey, transition: Transition, id_: str, revision: int, effect_id: str) -> TransitionRow:
    """The row of a transition that stands from now on."""
    kind = "event" if transition.message_ids else "clock"
    because = Because(kind, transition.message_ids, transition.evidence)
    return TransitionRow(
        id=id_,
        revision=revision,
        workspace=journey.workspace,
        subject=journey.subject,
        partition=journey.partition,
        lifecycle=journey.definition.name,
        version=journey.definition.version,
        track=transition.track,
        ordinal=transition.ordinal,
        step=transition.step,
        from_stage=transition.from_,
        to_stage=transition.to,
        transition=transition.transition,
        visit=transition.visit,
        effective_at=transition.at,
        recorded_at=journey.recorded_at,
        superseded_at=None,
        reason=transition.reason,
        cause=transition.cause,
        because=_encode(because).decode(),
        actions=_encode(transition.actions).decode(),
        effect_id=effect_id,
    )


def change_of(row: TransitionRow) -> TrackChange:
    """The published form of a stored transition."""
    return TrackChange(
        id=row.id,
        revision=row.revision,
        effect_id=row.effect_id,
        workspace=row.workspace,
        subject=row.subject,
        lifecycle=row.lifecycle,
        version=row.version,
        track=row.track,
        ordinal=row.ordinal,
        step=row.step,
        from_=row.from_stage,
        to=row.to_stage,
        transition=row.transition,
        visit=row.visit,
        effective_at=format_instant(row.effective_at),
        recorded_at=format_instant(row.recorded_at),
        reason=row.reason,
        because=_because.decode(row.because),
        actions=_actions.decode(row.actions),
    )


def corrected_of(
    journey: Journey, cause: str, retracted: Sequence[TransitionRow], added: Sequence[TransitionRow]
) -> TrackCorrected:
    """The published form of a repaired past; `cause` is the id of the event that came late, or what else made it."""
    return TrackCorrected(
        workspace=journey.workspace,
        subject=journey.subject,
        lifecycle=journey.definition.name,
        recorded_at=format_instant(journey.recorded_at),
        cause=cause,
        retracted=tuple(change_of(row) for row in retracted),
        added=tuple(change_of(row) for row in added),
    )
