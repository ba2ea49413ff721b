"""What the notifier knows: news that may make a message, decisions about it, and the message itself. Times are ms."""

import hashlib
from typing import Final, Literal

import msgspec

from schemas.campaigns import Campaign
from schemas.changes import TrackChange
from schemas.times import parse_instant

__all__ = ["OPEN_STATUSES", "STEP", "Decision", "Key", "Message", "Pending", "Reason", "Status"]
__all__ += ["decision_id", "pending_of", "scope_of"]

STEP: Final = "message"
"""The step of a campaign that has only one."""

Status = Literal["sending", "sent", "failed", "unknown", "suppressed"]
"""Of a decision: `sending` until its attempt is over. Everything but `suppressed` counts as done, for good."""

OPEN_STATUSES: Final = ("ready", "claimed")
"""Of an attempt: it may still be made, or is being made."""

Reason = Literal[
    "duplicate",
    "no_longer_eligible",
    "too_old",
    "expired",
    "no_address",
    "render_error",
    "paused",
    "campaign_removed",
    "refused",
    "outcome_unknown",
]
"""Why no message went out. The order in which the reasons are looked for stands in `notifier.domain.gates`."""

Key = tuple[str, str, str, str]
"""Of pending news: workspace, subject, id of the change, campaign."""


class Pending(msgspec.Struct):
    """One change that sets one campaign off, before it is decided.

    `topic` and `offset` say where it was read. `needs` are the offsets that the reading of this partition must have
    reached first, known once the progress that follows the change was read; `clock` is the
    latest time that the reading is known to have reached by then (ms), whatever the partition's own clock says.
    `parked`: everything fits, but there is no address yet.
    """

    workspace: str
    subject: str
    change_id: str
    campaign: str
    revision: int
    effect_id: str
    topic: str
    offset: int
    lifecycle: str
    track: str
    stage: str
    previous: str | None
    reason: str | None
    visit: int
    effective_at: int
    expires_at: int
    needs: dict[str, int] | None = None
    clock: int = 0
    parked: bool = False

    @property
    def key(self) -> Key:
        """What makes it one."""
        return (self.workspace, self.subject, self.change_id, self.campaign)


class Decision(msgspec.Struct, kw_only=True):
    """What was decided about a campaign and a subject within a scope. There is one row for each."""

    workspace: str
    subject: str
    campaign: str
    step: str
    scope: str
    decision_id: str
    partition: int
    campaign_version: int
    effect_id: str
    change_id: str
    change_revision: int
    standing: bool
    status: Status
    reason: Reason | None
    channel: str | None
    template: str | None
    locale: str | None
    lifecycle: str
    track: str
    stage: str
    previous: str | None
    visit: int
    effective_at: int
    decided_at: int
    expires_at: int
    duplicates: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A rendered message, ready for a channel. `created_at` in ms."""

    decision_id: str
    workspace: str
    subject: str
    sender: str
    recipient: str
    locale: str
    subject_line: str
    text: str
    html: str
    created_at: int


def pending_of(change: TrackChange, campaign: Campaign, topic: str, offset: int) -> Pending:
    """The pending news of a change and a campaign that it sets off. Raises `InvalidTime` for a change without times."""
    return Pending(
        workspace=change.workspace,
        subject=change.subject,
        change_id=change.id,
        campaign=campaign.campaign,
        revision=change.revision,
        effect_id=change.effect_id,
        topic=topic,
        offset=offset,
        lifecycle=change.lifecycle,
        track=change.track,
        stage=change.to,
        previous=change.from_,
        reason=change.reason,
        visit=change.visit,
        effective_at=parse_instant(change.effective_at),
        expires_at=parse_instant(change.recorded_at) + campaign.valid_for,
    )


def scope_of(campaign: Campaign | None, pending: Pending) -> str:
    """Within what the campaign is sent once: the effect of this visit, the whole life (empty), or a bucket of time."""
    if campaign is None or campaign.once_per == "visit":
        return pending.effect_id
    if campaign.once_per == "subject":
        return ""
    return f"{campaign.once_per}:{pending.effective_at // campaign.once_per}"


def decision_id(workspace: str, subject: str, campaign: str, step: str, scope: str) -> str:
    """The id of a decision: 32 hexadecimal digits, the same for the same five parts."""
    parts = msgspec.json.encode((workspace, subject, campaign, step, scope))
    return hashlib.blake2b(parts, digest_size=16).hexdigest()
