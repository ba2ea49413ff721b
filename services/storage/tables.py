"""Tables of the runtime: how far each processor has read, its clocks, and what it still has to publish."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

__all__ = ["clocks", "metadata", "outbox", "positions", "relays"]

metadata = MetaData()

positions = Table(
    "positions",
    metadata,
    Column("processor", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("bound", BigInteger),
)
"""`epoch` counts owners; `bound` is the clock (ms) of the latest progress record read from the topic, if it has any."""

clocks = Table(
    "clocks",
    metadata,
    Column("processor", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("clock", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("processor", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("first_sequence", BigInteger, primary_key=True),
    Column("last_sequence", BigInteger, nullable=False),
    Column("records", LargeBinary, nullable=False),
)
"""Records yet to be published, some hundreds a row (MessagePack); their sequences run from first to last."""

relays = Table(
    "relays",
    metadata,
    Column("processor", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("highest", BigInteger, nullable=False),
    Column("published_through", BigInteger, nullable=False),
)
"""`highest` sequence ever given to a record of (processor, partition), and the one up to which all are published."""
