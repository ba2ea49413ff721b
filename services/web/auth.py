"""Who may use the API: API tokens with scopes, and signed-in browsers."""

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Security
from fastapi.requests import HTTPConnection, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from schemas.problems import ProblemError
from services.storage.keys import KeyKind, KeyRing, Scope

__all__ = ["Auth", "Principal", "SessionReader"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the workspace that a token or a session belongs to, and what it allows.

    `key` is the id of the token; None: a session that was opened without one.
    """

    workspace: str
    scopes: frozenset[Scope]
    key: str | None = None


SessionReader = Callable[[HTTPConnection], Awaitable[Principal | None]]
"""Reads the session cookie of a request: who signed in, or None."""

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiToken",
    description="The API token: on the first start it is written to `credentials.env` in the data folder.",
)


class Auth:
    """Dependencies for routes: ``dependencies=[Depends(auth.read)]``, also ``auth.write`` and ``auth.admin``.

    They answer the `Principal`, and raise `ProblemError`: `unauthorized` without a valid token or session, `scope` when
    it does not allow this (a write key never does), `duplicate_header` when Authorization is repeated.
    """

    def __init__(self, keys: KeyRing, session: SessionReader | None = None) -> None:
        """`session` is asked when a request brings no Authorization header."""
        self._keys = keys
        self._session = session

    async def read(
        self, request: Request, _token: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        """The caller may read."""
        return await self.allowed(request, Scope.READ)

    async def write(
        self, request: Request, _token: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        """The caller may give commands on customers."""
        return await self.allowed(request, Scope.WRITE)

    async def admin(
        self, request: Request, _token: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        """The caller may administer."""
        return await self.allowed(request, Scope.ADMIN)

    async def allowed(self, connection: HTTPConnection, scope: Scope) -> Principal:
        """The caller, if `scope` is granted. Raises `ProblemError`."""
        principal = await self.principal(connection)
        if principal is None:
            raise ProblemError("unauthorized")
        if scope not in principal.scopes:
            raise ProblemError("scope")
        return principal

    async def principal(self, connection: HTTPConnection) -> Principal | None:
        """Who asks, or None. A write key is someone who may do nothing here. Raises `ProblemError`."""
        given = connection.headers.getlist("authorization")
        if len(given) > 1:
            raise ProblemError("duplicate_header")
        if not given:
            return await self._session(connection) if self._session is not None else None
        scheme, _, credentials = given[0].partition(" ")
        if scheme.lower() == "basic":
            return await self._write_key(_user_name(credentials))
        if scheme.lower() != "bearer":
            return None
        key = await self._keys.find(KeyKind.API, credentials.strip())
        if key is None:
            return await self._write_key(credentials.strip())
        return Principal(key.workspace, key.scopes, key.id)

    async def _write_key(self, secret: str) -> Principal | None:
        key = await self._keys.find(KeyKind.WRITE, secret)
        return None if key is None else Principal(key.workspace, frozenset())


def _user_name(credentials: str) -> str:
    try:
        return b64decode(credentials.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeError, ValueError):
        return ""
