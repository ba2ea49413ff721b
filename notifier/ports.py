"""What the notifier needs of its surroundings."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from sqlalchemy import Connection

from notifier.domain.model import Message

__all__ = ["Channel", "Database", "Delivery", "Now", "Transaction"]

Now = Callable[[], int]
"""Wall time in ms."""


class Transaction(Protocol):
    """An open database transaction."""

    @property
    def connection(self) -> Connection:
        """SQLAlchemy's connection."""

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """Whose SQL it speaks."""

    @property
    def driver(self) -> Any:
        """The driver's own connection."""


class Database(Protocol):
    """Short transactions in the calling thread."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Committed durably when the block ends, rolled back when it raises."""

    def reading(self) -> AbstractContextManager[Transaction]:
        """Read-only, on one snapshot."""


class Delivery:
    """What came of handing a message to a channel: see the four kinds below. `detail` is for the operator."""

    __slots__ = ("detail", "outcome")

    def __init__(self, outcome: Literal["sent", "failed", "retry", "unknown"], detail: str = "") -> None:
        """`sent`: accepted. `failed`: refused for good. `retry`: surely not sent, try again. `unknown`: never again."""
        self.outcome = outcome
        self.detail = detail


class Channel(Protocol):
    """A way out of the house: mail, and later push, webhooks and others."""

    name: str

    async def deliver(self, message: Message) -> Delivery:
        """Hand one message over, within a minute. Errors are answers; nothing is raised but `CancelledError`."""
