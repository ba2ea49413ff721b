"""The tables of an engine; their columns are the fields of the rows in `tracks.domain.rows`."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

__all__ = ["TrackTables"]


def _text(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=primary_key, nullable=nullable)


def _instant(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


class TrackTables:
    """The tables of one engine, named with its prefix (``stage_engine_``, ``segmenter_``)."""

    def __init__(self, prefix: str, metadata: MetaData | None = None) -> None:
        """`metadata` is where the tables are registered; by default one of their own."""
        self.prefix = prefix
        self.metadata = metadata if metadata is not None else MetaData()
        self.activity = self._activity()
        self.subjects = self._subjects()
        self.transitions = self._transitions()
        self.stages = self._stages()
        self.counts = Table(
            f"{prefix}counts",
            self.metadata,
            _text("name", primary_key=True),
            Column("partition", Integer, primary_key=True, autoincrement=False),
            Column("value", BigInteger, nullable=False),
        )

    def _activity(self) -> Table:
        return Table(
            f"{self.prefix}activity",
            self.metadata,
            _text("workspace", primary_key=True),
            _text("subject", primary_key=True),
            _text("message_id", primary_key=True),
            Column("partition", Integer, nullable=False),
            _instant("occurred_at"),
            Column("sequence", BigInteger),
            _instant("received_at"),
            _text("name"),
            _text("source"),
            Column("body", LargeBinary, nullable=False),
            _text("flags"),
        )

    def _subjects(self) -> Table:
        # Half-empty pages let PostgreSQL rewrite a state in place; `wake_at` is the only indexed column that moves,
        # and it moves only when it was too late or has passed.
        table = Table(
            f"{self.prefix}subjects",
            self.metadata,
            _text("workspace", primary_key=True),
            _text("subject", primary_key=True),
            Column("partition", Integer, nullable=False),
            Column("states", LargeBinary, nullable=False),
            _instant("wake_at", nullable=True),
            _instant("first_at", nullable=True),
            _instant("last_at"),
            _instant("quiet_until"),
            _instant("counted_to"),
            _instant("superseded_through"),
            postgresql_with={"fillfactor": 60},
        )
        due = text("wake_at IS NOT NULL")
        Index(
            f"{self.prefix}subjects_wake",
            table.c.partition,
            table.c.wake_at,
            postgresql_where=due,
            sqlite_where=due,
        )
        return table

    def _transitions(self) -> Table:
        table = Table(
            f"{self.prefix}transitions",
            self.metadata,
            _text("id"),
            Column("revision", Integer, nullable=False),
            _text("workspace"),
            _text("subject"),
            Column("partition", Integer, nullable=False),
            _text("lifecycle"),
            Column("version", Integer, nullable=False),
            _text("track"),
            Column("ordinal", Integer, nullable=False),
            Column("step", Integer, nullable=False),
            _text("from_stage", nullable=True),
            _text("to_stage"),
            _text("transition"),
            Column("visit", Integer, nullable=False),
            _instant("effective_at"),
            _instant("recorded_at"),
            _instant("superseded_at", nullable=True),
            _text("reason", nullable=True),
            _text("cause"),
            _text("because"),
            _text("actions"),
            _text("effect_id"),
            # An id is a hash over workspace and subject too, so this is (id, revision) and finds a subject's as well.
            PrimaryKeyConstraint("workspace", "subject", "id", "revision"),
        )
        Index(f"{self.prefix}transitions_recorded", table.c.recorded_at)
        return table

    def _stages(self) -> Table:
        table = Table(
            f"{self.prefix}stages",
            self.metadata,
            _text("workspace", primary_key=True),
            _text("subject", primary_key=True),
            _text("lifecycle", primary_key=True),
            _text("track", primary_key=True),
            _text("stage"),
            _instant("since"),
            Column("visit", Integer, nullable=False),
            _text("reason", nullable=True),
            sqlite_with_rowid=False,
        )
        Index(
            f"{self.prefix}stages_members",
            table.c.workspace,
            table.c.lifecycle,
            table.c.track,
            table.c.stage,
            table.c.subject,
        )
        return table
