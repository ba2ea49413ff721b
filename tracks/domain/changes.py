"""From the machine's transitions to stored rows and published changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from behavior import Definition, Transition
from schemas.changes import Because, TrackChange
from schemas.times import format_instant
from tracks.domain.rows import TransitionRow

__all__ = ["Journey", "change_of", "encode_change", "encode_correction", "row_of", "transition_id"]

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


class _Change(msgspec.Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """`TrackChange` with its parts already encoded, as a row holds them."""

    id: str
    revision: int
    effect_id: str
    workspace: str
    subject: str
    lifecycle: str
    version: int
    track: str
    ordinal: int
    step: int
    from_: str | None
    to: str
    transition: str
    visit: int
    effective_at: str
    recorded_at: str
    reason: str | None
    because: msgspec.Raw
    actions: msgspec.Raw


class _Corrected(msgspec.Struct, frozen=True):
    """`TrackCorrected` of such changes."""

    workspace: str
    subject: str
    lifecycle: str
    recorded_at: str
    cause: str
    retracted: list[_Change]
    added: list[_Change]


def _encodable(row: TransitionRow) -> _Change:
    return _Change(
        row.id,
        row.revision,
        row.effect_id,
        row.workspace,
        row.subject,
        row.lifecycle,
        row.version,
        row.track,
        row.ordinal,
        row.step,
        row.from_stage,
        row.to_stage,
        row.transition,
        row.visit,
        format_instant(row.effective_at),
        _recorded(row.recorded_at),
        row.reason,
        msgspec.Raw(row.because),
        msgspec.Raw(row.actions),
    )


@lru_cache(maxsize=16)
def _recorded(instant: int) -> str:
    return format_instant(instant)


def encode_change(row: TransitionRow) -> bytes:
    """The JSON of a `TrackChange`."""
    return _encode(_encodable(row))


def encode_correction(
    journey: Journey, cause: str, retracted: Sequence[TransitionRow], added: Sequence[TransitionRow]
) -> bytes:
    """The JSON of a `TrackCorrected`; `cause` is the id of the event that came late, or what else made it."""
    return _encode(
        _Corrected(
            journey.workspace,
            journey.subject,
            journey.definition.name,
            _recorded(journey.recorded_at),
            cause,
            [_encodable(row) for row in retracted],
            [_encodable(row) for row in added],
        )
    )
