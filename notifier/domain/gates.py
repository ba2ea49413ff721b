"""The gates that a piece of news passes before it becomes a message. The first one that fails decides."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from notifier.domain.model import Decision, Pending, Reason, scope_of
from schemas.campaigns import Campaign

__all__ = ["Moment", "Verdict", "judge"]


class Moment(NamedTuple):
    """When it is judged (ms): wall time, how far reading has come, and how old a change may be to have effects."""

    now: int
    clock: int
    effects_within: int


class Verdict(NamedTuple):
    """`send` it, `suppress` it for the reason, `park` it for want of an address, or it is a `duplicate` of `past`."""

    outcome: Literal["send", "suppress", "park", "duplicate"]
    reason: Reason | None = None
    past: Decision | None = None


def judge(
    pending: Pending, campaign: Campaign | None, past: Iterable[Decision], moment: Moment, *, address: bool
) -> Verdict:
    """Judge pending news. `past`: decisions about the same subject and campaign; `address`: there is one to send to.

    Gates in order: not done already (same scope, or the same effect: a corrected past repeats nothing; first of all,
    so that what was carried out is never overwritten); the campaign exists and is not paused; the change is young
    enough for effects; the message is still valid; an address. A change that no longer stands never comes here. What
    was suppressed was not done, so it may be decided anew.
    """
    scope = scope_of(campaign, pending)
    for decision in past:
        same = decision.scope == scope or decision.effect_id == pending.effect_id
        if same and decision.status != "suppressed":
            return Verdict("duplicate", "duplicate", decision)
    if campaign is None:
        return Verdict("suppress", "campaign_removed")
    if campaign.paused:
        return Verdict("suppress", "paused")
    if pending.parked:
        if moment.now > pending.expires_at and not address:
            return Verdict("suppress", "no_address")
    elif max(moment.clock, pending.clock) - pending.effective_at > moment.effects_within:
        return Verdict("suppress", "too_old")
    if moment.now > pending.expires_at:
        return Verdict("suppress", "expired")
    return Verdict("send") if address else Verdict("park", "no_address")
