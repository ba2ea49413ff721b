"""GET /v1/messages and GET /v1/messages/{key}: what was sent, what was not, and why."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from notifier.reads import MessageFilter, MessageReads, MessageSeen, Place
from schemas.cursors import Cursors
from schemas.ids import DEFAULT_WORKSPACE, InvalidId, display_id, parse_customer_id
from schemas.problems import Problem, ProblemError
from schemas.times import format_instant

__all__ = ["AttemptView", "MessageList", "MessageView", "messages_router"]

_REASONS = "no_longer_eligible, too_old, expired, no_address, render_error, paused, campaign_removed, refused"
_PROBLEMS: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 401: {"model": Problem}}


class AttemptView(BaseModel):
    """One attempt to hand a message over."""

    model_config = ConfigDict(frozen=True)

    channel: str = Field(examples=["email"], description="`outbox` is the local outbox: it takes everything.")
    status: str = Field(examples=["sent"], description="ready, claimed, sent, failed, unknown or suppressed.")
    tries: int = Field(examples=[1])
    created_at: str = Field(examples=["2026-11-03T10:00:06.120Z"])
    finished_at: str | None = Field(examples=["2026-11-03T10:00:06.480Z"])
    next_try_at: str | None = Field(default=None, description="When it is tried again, while `status` is ready.")
    detail: str | None = Field(default=None, examples=["250 Message accepted for delivery"])


class MessageView(BaseModel):
    """A decision about a message, and the message when there is one."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(examples=["5f0c6d0e7a1b4c2d9e8f7a6b5c4d3e2f"])
    customer: str = Field(examples=["u-42"])
    campaign: str = Field(examples=["welcome"])
    campaign_version: int = Field(examples=[1])
    outcome: str = Field(examples=["sent"], description="sending, sent, failed, unknown or suppressed.")
    reason: str | None = Field(examples=[None], description=f"Why it was not sent: {_REASONS} or outcome_unknown.")
    decided_at: str = Field(examples=["2026-11-03T10:00:06.100Z"])
    valid_until: str = Field(examples=["2026-11-06T10:00:06.000Z"])
    lifecycle: str = Field(examples=["default"])
    track: str = Field(examples=["stage"])
    entered: str = Field(examples=["adoption"], description="The stage whose entry set the campaign off.")
    visit: int = Field(examples=[1])
    effective_at: str = Field(examples=["2026-11-03T10:00:00.000Z"])
    change: str = Field(examples=["9b1c6d0e7a1b4c2d9e8f7a6b5c4d3e2f"], description="The id of that transition.")
    repeats: int = Field(examples=[0], description="How often the same news came again, and sent nothing again.")
    channel: str | None = Field(examples=["email"])
    template: str | None = Field(examples=["welcome"])
    locale: str | None = Field(examples=["en"])
    to: str | None = Field(examples=["ada@example.com"])
    subject: str | None = Field(examples=["Welcome aboard, Ada"])
    text: str | None = Field(examples=["Hello Ada,\n\nThank you for choosing us."])
    html: str | None = Field(default=None, description="Only in GET /v1/messages/{key}.")
    attempts: tuple[AttemptView, ...] = ()


class MessageList(BaseModel):
    """Messages, the one decided last first. `next` is the cursor of the following page, or null on the last."""

    model_config = ConfigDict(frozen=True)

    messages: tuple[MessageView, ...]
    next: str | None = Field(examples=["y0qYb1v0S3kq8Zb1lQ2m4lsxNzkzNzAwMDA2MTAwLCI1ZjBjNmQwZSJd"])


def messages_router(reads: MessageReads, cursors: Cursors, workspace: str = DEFAULT_WORKSPACE) -> APIRouter:
    """The routes, over one notifier's tables. Who may call them is for the including application to say."""
    router = APIRouter(prefix="/v1/messages", tags=["Messages"])
    pages = cursors.of("messages", workspace)

    @router.get("", responses=_PROBLEMS, summary="What was sent, and what was not, newest first")
    async def list_messages(
        customer: Annotated[str | None, Query(description="An id as in /v1/customers/{id}", examples=["u-42"])] = None,
        campaign: Annotated[str | None, Query(max_length=64, examples=["welcome"])] = None,
        outcome: Annotated[
            str | None, Query(pattern="^(sending|sent|failed|unknown|suppressed)$", examples=["sent"])
        ] = None,
        cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> MessageList:
        """Decisions about messages, each with its message when one was written. A suppressed one says why."""
        wanted = MessageFilter(_subject(customer), campaign, outcome)
        found = await asyncio.to_thread(reads.recent, workspace, wanted, pages.read(cursor, Place), limit + 1)
        shown = found[:limit]
        following = None
        if len(found) > limit:
            last = shown[-1].decision
            following = pages.write(Place(last.decided_at, last.decision_id))
        return MessageList(messages=tuple(_view(each, html=False) for each in shown), next=following)

    @router.get("/{key}", responses={**_PROBLEMS, 404: {"model": Problem}}, summary="One message with its attempts")
    async def read_message(key: Annotated[str, Path(max_length=64)]) -> MessageView:
        """The decision, its outcome and reason, the message as it was written, and every attempt."""
        found = await asyncio.to_thread(reads.one, workspace, key)
        if found is None:
            raise ProblemError("unknown_message")
        return _view(found, html=True)

    return router


def _subject(customer: str | None) -> str | None:
    if customer is None:
        return None
    try:
        return parse_customer_id(customer)
    except InvalidId as error:
        raise ProblemError("invalid_id", str(error)) from error


def _view(seen: MessageSeen, *, html: bool) -> MessageView:
    decision = seen.decision
    return MessageView(
        key=decision.decision_id,
        customer=display_id(decision.subject),
        campaign=decision.campaign,
        campaign_version=decision.campaign_version,
        outcome=decision.status,
        reason=decision.reason,
        decided_at=format_instant(decision.decided_at),
        valid_until=format_instant(decision.expires_at),
        lifecycle=decision.lifecycle,
        track=decision.track,
        entered=decision.stage,
        visit=decision.visit,
        effective_at=format_instant(decision.effective_at),
        change=decision.change_id,
        repeats=decision.duplicates,
        channel=decision.channel,
        template=decision.template,
        locale=decision.locale,
        to=seen.recipient,
        subject=seen.subject_line,
        text=seen.text,
        html=seen.html if html else None,
        attempts=tuple(
            AttemptView(
                channel=each.channel,
                status=each.status,
                tries=each.tries,
                created_at=format_instant(each.created_at),
                finished_at=None if each.finished_at is None else format_instant(each.finished_at),
                next_try_at=format_instant(each.not_before) if each.status == "ready" else None,
                detail=each.detail,
            )
            for each in seen.attempts
        ),
    )
