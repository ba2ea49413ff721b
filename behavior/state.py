"""What is remembered of one subject under one definition."""

from typing import TYPE_CHECKING, Any

import msgspec

from behavior.errors import StaleState

if TYPE_CHECKING:
    from behavior.definition import Definition

__all__ = ["NEVER", "State", "TrackState"]

NEVER = 2**62
"""An instant that does not come: no further event, no change."""

_LAYOUT = "1"
_HASH = 16


class TrackState(msgspec.Struct, array_like=True, gc=False):
    """Where a subject stands in one track.

    `since` is the entry instant (ms); `visits` counts the entries of each stage; `left` holds the stages left, the most
    recent last; `reason` was chosen at entry. `entered_by` is the transition's id, `cause` a message id or ``clock``,
    `evidence` the message ids that it rested on. `conflict` names two transitions that undo each other, and since when.
    """

    stage: str
    since: int
    visits: dict[str, int]
    left: list[str]
    reason: str | None
    entered_by: str
    cause: str
    evidence: tuple[str, ...]
    due: int = NEVER
    watch: int = 0
    conflict: tuple[str, str, int] | None = None

    @property
    def visit(self) -> int:
        """How often the present stage has been entered, this time included."""
        return self.visits[self.stage]

    @property
    def history(self) -> tuple[str, ...]:
        """The stages left so far, each once, the most recently left first."""
        return tuple(reversed(self.left))

    def copy(self) -> "TrackState":
        """A copy that shares nothing changeable."""
        twin: TrackState = msgspec.structs.replace(self, visits=dict(self.visits), left=list(self.left))
        return twin


class State(msgspec.Struct, array_like=True, gc=False):
    """One subject under one definition. Only the machine changes it; after an error it must be thrown away.

    `last_instant` is the latest instant processed, `first_at` that of the first event of any kind (None before it),
    `tracks` are in the definition's order, `milestones` is a set of bits.
    """

    stamp: str
    first_at: int | None = None
    last_instant: int = -1
    next_due: int = NEVER
    milestones: int = 0
    tracks: list[TrackState] = []
    slots: list[Any] = []

    @classmethod
    def new(cls, definition: "Definition") -> "State":
        """The state of a subject of whom nothing is known yet."""
        return cls(_LAYOUT + definition.stamp[:_HASH], slots=[None] * definition.slot_count)

    @classmethod
    def load(cls, definition: "Definition", stored: bytes) -> "State":
        """The state that `dump` wrote. Raises `StaleState` if it is of another definition or layout, or no state."""
        try:
            state = _decoder.decode(stored)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StaleState from error
        if state.stamp != _LAYOUT + definition.stamp[:_HASH] or len(state.slots) != definition.slot_count:
            raise StaleState
        return state

    def dump(self) -> bytes:
        """The state as bytes."""
        return _encoder.encode(self)

    @property
    def next_due_at(self) -> int | None:
        """The next instant (ms) to be processed even if no event comes; None when silence changes nothing any more."""
        return None if self.next_due >= NEVER else self.next_due

    def track(self, definition: "Definition", name: str) -> TrackState:
        """Where the subject stands in the track `name`. Raises `KeyError` for an unknown name or before any event."""
        for track, here in zip(definition.tracks, self.tracks, strict=False):
            if track.name == name:
                return here
        raise KeyError(name)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)
