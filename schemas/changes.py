"""What the engines and the notifier publish: changes, corrections, progress, and what became of messages.

These structures are the JSON data of the records; times are RFC 3339 text with milliseconds and ``Z``.
"""

from typing import Any

import msgspec

__all__ = ["Because", "MessageOutcome", "Progress", "TrackChange", "TrackCorrected"]


class Because(msgspec.Struct, frozen=True):
    """Why a transition happened: `kind` is ``event`` or ``clock``; `message_ids` caused it; `evidence` it rests on."""

    kind: str
    message_ids: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


class TrackChange(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """One transition of one track: the data of `parcours.stage.changed` and `parcours.segment.changed`.

    `id` is the same in every replay; a restored transition comes back with a higher `revision`; readers keep the
    highest revision per id. `effect_id` answers "already done?": a correction's replacement inherits it.
    `actions` is the entered stage's `on_enter` list as declared.
    """

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
    because: Because
    actions: tuple[dict[str, Any], ...] = ()


class TrackCorrected(msgspec.Struct, frozen=True):
    """A repaired past: the data of `parcours.stage.corrected` and `parcours.segment.corrected`."""

    workspace: str
    subject: str
    lifecycle: str
    recorded_at: str
    cause: str
    retracted: tuple[TrackChange, ...]
    added: tuple[TrackChange, ...]


class Progress(msgspec.Struct, frozen=True):
    """How far a processor has read: next offsets per input topic of this partition, and its clock (text)."""

    processor: str
    partition: int
    offsets: dict[str, int]
    clock: str


class MessageOutcome(msgspec.Struct, frozen=True):
    """What became of a message: the data of `parcours.message.*`. `reason` is a stable code when it was suppressed."""

    decision_id: str
    workspace: str
    subject: str
    campaign: str
    step: str
    channel: str | None
    template: str | None
    outcome: str
    reason: str | None
    effect_id: str
    at: str
