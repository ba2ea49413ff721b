"""Signing a browser in: one-time links, and the signed cookie that a signed-in browser carries."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import BigInteger, Column, Table, Text, delete, insert, select, update

from schemas.times import DAY, MINUTE
from services.runtime.clock import Clock
from services.runtime.ids import Ids
from services.storage.database import Database
from services.storage.signing import SigningSecret, signing_metadata

__all__ = ["LINK_LIFE", "SESSION_LIFE", "SIGN_IN_PATH", "Session", "Sessions", "metadata"]

SIGN_IN_PATH: Final = "/sign-in"
SESSION_LIFE: Final = 14 * DAY
LINK_LIFE: Final = 10 * MINUTE

metadata = signing_metadata

_links = Table(
    "web_sign_in_links",
    metadata,
    Column("code_hash", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("key_id", Text),
)
_ended = Table(
    "web_ended_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser: its workspace and scopes; it ends at `expires_at` (ms).

    `key` is the id of the token that it was opened with, and with which it ends; None: it was opened without one.
    """

    id: str
    workspace: str
    scopes: frozenset[str]
    expires_at: int
    key: str | None = None


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


def _scopes(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Sessions:
    """Sign-in links and session cookies of one database. Synchronous; call it in a worker thread."""

    def __init__(self, database: Database, clock: Clock, ids: Ids) -> None:
        """The tables of `metadata` must exist. The signing secret is drawn at the first use and kept there."""
        self._database = database
        self._clock = clock
        self._ids = ids
        self._signing = SigningSecret(database, ids, "session")

    @property
    def _secret(self) -> str:
        return self._signing.value

    def _signer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self._secret, salt="parcours.session")

    @property
    def cookie_name(self) -> str:
        """The name of the cookie: other servers on the same host have others, because cookies ignore ports."""
        return f"parcours_{_hash(self._secret)[:10]}"

    def make_link(self, workspace: str, scopes: Collection[str], key: str | None = None) -> str:
        """The path of a new link that signs one browser in, once, within ten minutes. Only a hash of it is kept.

        `key` is the id of the token that asked for it.
        """
        code = self._ids.secret()
        now = self._clock.now()
        with self._database.transaction() as transaction:
            transaction.connection.execute(delete(_links).where(_links.c.expires_at < now - DAY))
            transaction.connection.execute(
                insert(_links).values(
                    code_hash=_hash(code),
                    workspace=workspace,
                    scopes=" ".join(sorted(scopes)),
                    expires_at=now + LINK_LIFE,
                    key_id=key,
                )
            )
        return f"{SIGN_IN_PATH}/{code}"

    def redeem(self, code: str) -> str | None:
        """The cookie that a link's code is worth, the first time within its life; None ever after."""
        now = self._clock.now()
        mine = _links.c.code_hash == _hash(code)
        with self._database.transaction() as transaction:
            used = transaction.connection.execute(
                update(_links).where(mine, _links.c.used_at.is_(None), _links.c.expires_at > now).values(used_at=now)
            )
            if used.rowcount != 1:
                return None
            row = transaction.connection.execute(select(_links).where(mine)).one()
        return self.open(row.workspace, _scopes(row.scopes), row.key_id)

    def open(self, workspace: str, scopes: Collection[str], key: str | None = None) -> str:
        """A cookie for a new session with these scopes, opened with the token of that id."""
        content = {
            "id": self._ids.secret(),
            "workspace": workspace,
            "scopes": " ".join(sorted(scopes)),
            "expires_at": self._clock.now() + SESSION_LIFE,
            "key": key,
        }
        return str(self._signer().dumps(content))

    def _read(self, cookie: str) -> Session | None:
        try:
            content = self._signer().loads(cookie)
        except BadSignature:
            return None
        scopes = _scopes(content["scopes"])
        return Session(content["id"], content["workspace"], scopes, content["expires_at"], content.get("key"))

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie: None when it is missing, not ours, over, or was signed out."""
        session = self._read(cookie) if cookie else None
        if session is None or session.expires_at <= self._clock.now():
            return None
        with self._database.reading() as transaction:
            ended = transaction.connection.execute(select(_ended.c.id).where(_ended.c.id == session.id)).first()
        return None if ended else session

    def end(self, cookie: str | None) -> None:
        """Sign out: the cookie is worth nothing from now on, wherever a copy of it may be."""
        session = self.find(cookie)
        if session is None:
            return
        with self._database.transaction() as transaction:
            transaction.connection.execute(delete(_ended).where(_ended.c.expires_at < self._clock.now()))
            transaction.connection.execute(insert(_ended).values(id=session.id, expires_at=session.expires_at))
