"""What became of messages, as records of `parcours.messages`."""

from typing import Final

import msgspec

from notifier.domain.model import Decision
from notifier.store import Outcome
from schemas.changes import MessageOutcome
from schemas.ids import record_key
from schemas.processing import Output
from schemas.records import cloud_event_headers
from schemas.times import format_instant
from schemas.topics import MESSAGES

__all__ = ["announce_end", "announce_sent", "announce_suppressed"]

_SOURCE: Final = "/notifier"
_encode = msgspec.json.Encoder().encode
_TYPES: Final = {"sent": "sent", "failed": "bounced", "unknown": "suppressed", "suppressed": "suppressed"}


def announce_end(outcome: Outcome, now: int) -> Output:
    """The end of an attempt: sent, bounced (refused for good), or suppressed (given up; also when nobody knows)."""
    decision = outcome.decision
    detail = (outcome.channel, outcome.status, decision.change_id, str(decision.change_revision))
    return _output(decision, outcome.status, detail, outcome.finished_at, now, channel=outcome.channel)


def announce_sent(decision: Decision, now: int) -> Output:
    """A message that the local outbox took."""
    detail = (decision.channel or "", "sent", decision.change_id, str(decision.change_revision))
    return _output(decision, "sent", detail, now, now, channel=decision.channel)


def announce_suppressed(decision: Decision, now: int) -> Output:
    """A decision not to send, with its reason."""
    detail = ("suppressed", decision.reason or "", decision.change_id, str(decision.change_revision))
    return _output(decision, "suppressed", detail, now, now, channel=None)


def _output(
    decision: Decision, outcome: str, detail: tuple[str, ...], at: int, now: int, *, channel: str | None
) -> Output:
    data = MessageOutcome(
        decision_id=decision.decision_id,
        workspace=decision.workspace,
        subject=decision.subject,
        campaign=decision.campaign,
        step=decision.step,
        channel=channel,
        template=decision.template,
        outcome=outcome,
        reason=decision.reason,
        effect_id=decision.effect_id,
        at=format_instant(at),
    )
    event_id = ":".join((decision.decision_id, *detail))
    kind = f"parcours.message.{_TYPES[outcome]}"
    return Output(
        topic=MESSAGES,
        key=record_key(decision.workspace, decision.subject),
        value=_encode(data),
        headers=cloud_event_headers(event_id, kind, _SOURCE, at, decision.subject),
        timestamp=now,
    )
