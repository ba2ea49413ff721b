"""Rows as an engine stores them: what subjects did, the states folded from it, and the transitions that came out."""

from typing import NamedTuple, Self

from schemas.contents import DUPLICATE_ID_CONFLICT, same_content

__all__ = ["ActivityRow", "EventKey", "StageRow", "SubjectKey", "SubjectRow", "TransitionRow"]

SubjectKey = tuple[str, str]
"""(workspace, subject)."""

EventKey = tuple[str, str, str]
"""(workspace, subject, message id)."""


class ActivityRow(NamedTuple):
    """One event of one subject, as stored; times in ms. `body` is the sender's JSON, `flags` a comma list."""

    workspace: str
    subject: str
    message_id: str
    partition: int
    occurred_at: int
    sequence: int | None
    received_at: int
    name: str
    source: str
    body: bytes
    flags: str

    def contradicts(self, other: Self) -> bool:
        """Whether two rows under one message id are not the same event."""
        return self.name != other.name or not same_content(self.body, other.body)

    def in_conflict(self) -> Self:
        """The row with the flag that another content came under its message id."""
        flags = self.flags.split(",") if self.flags else []
        if DUPLICATE_ID_CONFLICT in flags:
            return self
        return self._replace(flags=",".join((*flags, DUPLICATE_ID_CONFLICT)))


class SubjectRow(NamedTuple):
    """A subject's folded state; times in ms.

    `states` holds the states of all its definitions. `wake_at` is never later than the instant at which something
    falls due (None: nothing will). Silence waits until `quiet_until` and has counted up to `counted_to`.
    `superseded_through` is the latest effective time of a transition that was taken back (0: none).
    """

    workspace: str
    subject: str
    partition: int
    states: bytes
    wake_at: int | None
    first_at: int | None
    last_at: int
    quiet_until: int
    counted_to: int
    superseded_through: int


class TransitionRow(NamedTuple):
    """One transition of one track, as stored; times in ms. It stands while `superseded_at` is None.

    `because` and `actions` are JSON; `cause` is ``clock`` or the id of an event.
    """

    id: str
    revision: int
    workspace: str
    subject: str
    partition: int
    lifecycle: str
    version: int
    track: str
    ordinal: int
    step: int
    from_stage: str | None
    to_stage: str
    transition: str
    visit: int
    effective_at: int
    recorded_at: int
    superseded_at: int | None
    reason: str | None
    cause: str
    because: str
    actions: str
    effect_id: str


class StageRow(NamedTuple):
    """The present stage of a subject on one track; `since` in ms."""

    workspace: str
    subject: str
    lifecycle: str
    track: str
    stage: str
    since: int
    visit: int
    reason: str | None
