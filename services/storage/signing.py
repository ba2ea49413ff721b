"""Secrets that this system draws for itself, to sign what it hands out and must know again."""

from typing import Final

from sqlalchemy import Column, MetaData, Table, Text, insert, select
from sqlalchemy.exc import IntegrityError

from services.runtime.ids import Ids
from services.storage.database import Database

__all__ = ["SigningSecret", "signing_metadata"]

signing_metadata: Final = MetaData()
_secrets = Table(
    "web_secrets",
    signing_metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)


class SigningSecret:
    """One secret of a database, the same for all processes on it. Synchronous; use it in a worker thread at first."""

    def __init__(self, database: Database, ids: Ids, name: str) -> None:
        """The tables of `signing_metadata` must exist. The secret is drawn at the first use and kept there."""
        self._database = database
        self._ids = ids
        self._name = name
        self._known: str | None = None

    @property
    def value(self) -> str:
        """The secret. Raises `StorageError`."""
        if self._known is None:
            self._known = self._stored() or self._drawn()
        return self._known

    def _stored(self) -> str | None:
        query = select(_secrets.c.value).where(_secrets.c.name == self._name)
        with self._database.reading() as transaction:
            return transaction.connection.execute(query).scalar_one_or_none()

    def _drawn(self) -> str:
        drawn = self._ids.secret() + self._ids.secret()
        try:
            with self._database.transaction() as transaction:
                transaction.connection.execute(insert(_secrets).values(name=self._name, value=drawn))
        except IntegrityError:  # another process of the cluster was first: its secret counts
            return self.value
        return drawn
