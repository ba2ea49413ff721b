"""Tables of the notifier. Times are milliseconds since the epoch."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text

__all__ = ["attempts", "decisions", "messages", "metadata", "pending", "profiles"]

metadata = MetaData()

profiles = Table(
    "notifier_profiles",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("traits", LargeBinary, nullable=False),
)
"""What is known of a subject: MessagePack of `notifier.domain.profiles.Profile`."""

pending = Table(
    "notifier_pending",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("change_id", Text, primary_key=True),
    Column("campaign", Text, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("parked", Boolean, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("notifier_pending_due", "partition", "parked", "expires_at"),
)
"""News not decided yet; `data` is MessagePack of `notifier.domain.model.Pending`."""

decisions = Table(
    "notifier_decisions",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("campaign", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("decision_id", Text, nullable=False, unique=True),
    Column("partition", Integer, nullable=False),
    Column("campaign_version", Integer, nullable=False),
    Column("effect_id", Text, nullable=False),
    Column("change_id", Text, nullable=False),
    Column("change_revision", Integer, nullable=False),
    Column("standing", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("channel", Text),
    Column("template", Text),
    Column("locale", Text),
    Column("lifecycle", Text, nullable=False),
    Column("track", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("previous", Text),
    Column("visit", Integer, nullable=False),
    Column("effective_at", BigInteger, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Index("notifier_decisions_recent", "workspace", "decided_at", "decision_id"),
    Index("notifier_decisions_status", "workspace", "status", "decided_at", "decision_id"),
)
"""One row for each (workspace, subject, campaign, step, scope). `standing`: its change was not taken back."""

attempts = Table(
    "notifier_attempts",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("lease_owner", Text),
    Column("lease_until", BigInteger),
    Column("detail", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("announced", Boolean, nullable=False),
    Index("notifier_attempts_open", "status", "not_before"),
    Index("notifier_attempts_announced", "partition", "announced"),
)
"""One row for each (decision, channel): ready, claimed, sent, failed, unknown or suppressed.

It is written before the outside world is touched. `announced`: the outcome stands in the outbox of the event log.
"""

messages = Table(
    "notifier_messages",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("subject_line", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
"""The rendered messages: the local outbox."""
