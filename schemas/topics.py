"""The one table of topics: names, keys, retention, cleanup policy, size limits and what each carries."""

from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.times import DAY

__all__ = ["CONTROL", "CUSTOMERS", "EVENTS", "MESSAGES", "REJECTED", "ROUTED", "SEGMENT_CHANGES", "STAGE_CHANGES"]
__all__ += ["RECORD_OVERHEAD", "TOPICS", "Cleanup", "TopicSpec", "topic_table"]

EVENTS = "parcours.events"
REJECTED = "parcours.rejected"
ROUTED = "parcours.routed"
CONTROL = "parcours.control"
STAGE_CHANGES = "parcours.stage-changes"
SEGMENT_CHANGES = "parcours.segment-changes"
MESSAGES = "parcours.messages"
CUSTOMERS = "parcours.customers"

RECORD_OVERHEAD = 70
"""Bytes counted for a record beside its key, value and headers when its size is checked before an append."""


class Cleanup(StrEnum):
    """What the log does with old records: drop them after the retention, or keep the latest of each key."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it must exist: an existing topic that differs in any line is refused.

    `retention` is in milliseconds (None: for ever); `max_record_bytes` limits key + value + headers +
    `RECORD_OVERHEAD`. `key` says in words what the record key is; `types` lists the CloudEvents types that it
    carries (empty: catalog events).
    """

    name: str
    key: str
    carries: str
    cleanup: Cleanup = Cleanup.DELETE
    retention: int | None = 30 * DAY
    max_record_bytes: int = 1_048_576
    types: tuple[str, ...] = ()


TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(EVENTS, "workspace 0x1F subject", "accepted events, the sender's own bytes"),
    TopicSpec(
        REJECTED,
        "workspace",
        "what could not be accepted or processed: original bytes, reason, place",
        max_record_bytes=5 * 1_048_576,
        types=("parcours.event.rejected",),
    ),
    TopicSpec(ROUTED, "workspace 0x1F subject", "internal: the account's copy of a user's event, forwarded history"),
    TopicSpec(CONTROL, "workspace 0x1F subject", "definitions and commands", retention=None),
    TopicSpec(
        STAGE_CHANGES,
        "workspace 0x1F subject",
        "changes and corrections of lifecycle stages",
        types=("parcours.stage.changed", "parcours.stage.corrected", "parcours.stage.progress"),
    ),
    TopicSpec(
        SEGMENT_CHANGES,
        "workspace 0x1F subject",
        "changes and corrections of segment membership",
        types=("parcours.segment.changed", "parcours.segment.corrected", "parcours.segment.progress"),
    ),
    TopicSpec(
        MESSAGES,
        "workspace 0x1F subject",
        "what became of every message",
        types=(
            "parcours.message.sent",
            "parcours.message.delivered",
            "parcours.message.bounced",
            "parcours.message.opened",
            "parcours.message.clicked",
            "parcours.message.suppressed",
        ),
    ),
    TopicSpec(
        CUSTOMERS,
        "workspace 0x1F subject 0x1F part",
        "the latest stages, traits and segments of each customer",
        cleanup=Cleanup.COMPACT,
        retention=None,
    ),
)


def topic_table(events_retention: int | None = None) -> tuple[TopicSpec, ...]:
    """The topics with the retention of events (milliseconds) put in place of the table's 30 days, if given."""
    if events_retention is None:
        return TOPICS
    bounded = (EVENTS, REJECTED)
    return tuple(replace(spec, retention=events_retention) if spec.name in bounded else spec for spec in TOPICS)
