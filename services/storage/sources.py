"""Sources: what is allowed to the events of a write key, by the name that the key bears."""

import hashlib
import re
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, select

from ingest.ports import Mode

__all__ = [
    "ANY",
    "DEFAULT_RULES",
    "MODES",
    "SOURCE_NAME",
    "SourceRules",
    "metadata",
    "put_rules",
    "rules_of",
    "sources_table",
]
__all__ += ["etag_of", "stored_rules"]

MODES: Final[tuple[Mode, ...]] = ("open", "warn", "strict")
ANY: Final = "*"
"""Stands for whichever entity tag."""

SOURCE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

metadata = MetaData()
sources_table = Table(
    "ingest_sources",
    metadata,
    Column("workspace", String(40), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("mode", String(8), nullable=False),
    Column("events_per_second", Integer),
    Column("burst", Integer),
    Column("changed_at", BigInteger, nullable=False),
)


class SourceRules(NamedTuple):
    """What becomes of events that the catalog does not know or that break it, and the limits of each key of a source.

    None: the limit that the settings give to every key.
    """

    mode: Mode
    events_per_second: int | None
    burst: int | None


DEFAULT_RULES: Final = SourceRules("open", None, None)
_COLUMNS: Final = (sources_table.c.mode, sources_table.c.events_per_second, sources_table.c.burst)


def stored_rules(connection: Connection) -> dict[tuple[str, str], SourceRules]:
    """The rules of all sources that have some, by workspace and name."""
    rows = connection.execute(select(sources_table.c.workspace, sources_table.c.name, *_COLUMNS)).all()
    return {(row[0], row[1]): SourceRules(*row[2:]) for row in rows}


def rules_of(connection: Connection, workspace: str, name: str) -> SourceRules | None:
    """The rules of one source; None: none were ever given to it."""
    here = (sources_table.c.workspace == workspace) & (sources_table.c.name == name)
    row = connection.execute(select(*_COLUMNS).where(here)).one_or_none()
    return None if row is None else SourceRules(*row)


def put_rules(connection: Connection, workspace: str, name: str, rules: SourceRules, now: int) -> None:
    """Give a source its rules; `now` in ms. The transaction has read what is there, and nobody else writes it."""
    here = (sources_table.c.workspace == workspace) & (sources_table.c.name == name)
    values = {**rules._asdict(), "changed_at": now}
    if connection.execute(sources_table.update().where(here).values(**values)).rowcount == 0:
        connection.execute(sources_table.insert().values(workspace=workspace, name=name, **values))


def etag_of(rules: SourceRules) -> str:
    """The entity tag of a source's rules: another one for other rules."""
    text = "/".join("" if value is None else str(value) for value in rules)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'
