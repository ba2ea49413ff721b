"""Cursors that only this system can make: where a list goes on, signed for the list and the workspace."""

from typing import Any, Final

from itsdangerous import BadData, URLSafeSerializer

from schemas.problems import ProblemError
from services.storage.signing import SigningSecret

__all__ = ["Cursors"]

_LONGEST: Final = 1_024


class Cursors:
    """The cursors of one list. Synchronous: the first use reads the secret; call it in a worker thread."""

    def __init__(self, secret: SigningSecret, name: str) -> None:
        """`name` tells the list from others, whose cursors do not count here."""
        self._secret = secret
        self._name = name

    def write(self, workspace: str, place: list[int]) -> str:
        """The cursor of a place in the workspace's list."""
        return str(self._signer(workspace).dumps(place))

    def read(self, workspace: str, cursor: str) -> list[int]:
        """The place of a cursor. Raises `ProblemError` ``bad_cursor`` for whatever `write` did not make for these."""
        if len(cursor) > _LONGEST:
            raise ProblemError("bad_cursor")
        try:
            found: Any = self._signer(workspace).loads(cursor)
        except (BadData, ValueError, RecursionError) as error:
            raise ProblemError("bad_cursor") from error
        return [int(part) for part in found]

    def _signer(self, workspace: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._secret.value, salt=f"parcours.cursor.{self._name}.{workspace}")
