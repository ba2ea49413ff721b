"""GET|POST /v1/keys, and what becomes of one key: write keys and API tokens, for administrators."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.problems import ProblemError
from schemas.times import DAY, InvalidTime, format_instant, parse_duration
from services.errors import ServiceError
from services.runtime.clock import Clock
from services.storage.key_admin import KeyAdmin, KeyInfo, MadeKey, NewKey
from services.storage.keys import KeyKind, Scope
from services.storage.sources import SOURCE_NAME
from services.web.auth import Auth, Principal
from services.web.json_bodies import json_only
from services.web.problems import problem_responses

__all__ = ["KEY_ADMIN_PROBLEMS", "keys_router", "problem_of"]

LONGEST_LIFE: Final = 3_650 * DAY
LONGEST_GRACE: Final = 7 * DAY
KEY_ADMIN_PROBLEMS: Final = ("unauthorized", "scope")

_NO_STORE: Final = "no-store"
_WITH_BODY: Final = ("invalid_json", "unsupported_media_type", "invalid_body")
_Id = Annotated[str, Path(max_length=64, examples=["key-5f0c6d0e7a1b4c2d"])]


class NewKeyBody(BaseModel):
    """A key to make. A token needs scopes, a write key has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["write", "token"] = Field(examples=["write"], description="A write key sends events, a token asks.")
    source: str = Field(default="default", pattern=f"^{SOURCE_NAME.pattern}$", examples=["web-shop"])
    scopes: frozenset[Scope] = Field(default=frozenset(), examples=[[]])
    name: str | None = Field(default=None, min_length=1, max_length=64, examples=["web shop, 2026"])
    expires_in: str | None = Field(
        default=None, max_length=16, examples=["365d"], description="Default: it never ends."
    )

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str | None) -> str | None:
        if name is not None and not name.isprintable():
            raise ValueError("a name is printable text")
        return name

    @field_validator("expires_in")
    @classmethod
    def _life(cls, text: str | None) -> str | None:
        if text is not None:
            _milliseconds(text, 1, LONGEST_LIFE, "from 1ms to 3650d")
        return text

    @model_validator(mode="after")
    def _scopes_fit(self) -> "NewKeyBody":
        if (self.kind == KeyKind.API.value) != bool(self.scopes):
            raise ValueError("a token needs scopes, a write key has none")
        return self


class RotateBody(BaseModel):
    """How long the old key remains valid beside the new one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace: str = Field(default="0s", max_length=16, examples=["24h"], description="From 0s, at once, to 7d.")

    @field_validator("grace")
    @classmethod
    def _grace(cls, text: str) -> str:
        _milliseconds(text, 0, LONGEST_GRACE, "from 0s to 7d")
        return text


class KeyView(BaseModel):
    """A key, without its secret."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["key-5f0c6d0e7a1b4c2d"])
    kind: Literal["write", "token"] = Field(examples=["write"])
    state: Literal["active", "expired", "revoked"] = Field(examples=["active"])
    source: str = Field(examples=["web-shop"])
    scopes: tuple[str, ...] = Field(examples=[[]])
    name: str | None = Field(examples=["web shop, 2026"])
    hint: str | None = Field(examples=["wk_3f…Qd"], description="How the secret begins and ends.")
    given: bool = Field(
        examples=[False], description="Whether it comes from the environment: then it is changed there."
    )
    created_at: str | None = Field(examples=["2026-11-03T10:00:00.000Z"])
    expires_at: str | None = Field(examples=["2027-11-03T10:00:00.000Z"])
    revoked_at: str | None = Field(examples=[None])
    replaced_by: str | None = Field(examples=[None], description="The id of the key that took its place.")


class KeyList(BaseModel):
    """All keys of the workspace, the oldest first."""

    model_config = ConfigDict(frozen=True)

    keys: tuple[KeyView, ...]


class MadeKeyView(BaseModel):
    """A key that was made just now. The secret is shown here and never again."""

    model_config = ConfigDict(frozen=True)

    key: KeyView
    secret: str = Field(examples=["wk_3fK0x8mJ2vVbq1yT5rA7cE9gH4nLs6Qd"])


def keys_router(auth: Auth, admin: KeyAdmin, clock: Clock, changed: Callable[[], None]) -> APIRouter:
    """The routes. `changed` is called after each change: it holds in this process at once."""
    guards = [Depends(auth.admin), Depends(json_only)]
    router = APIRouter(prefix="/v1/keys", tags=["Administration"], dependencies=guards)
    admins = Annotated[Principal, Depends(auth.admin)]

    def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
        return problem_responses(*KEY_ADMIN_PROBLEMS, *codes)

    def made_view(response: Response, made: MadeKey) -> MadeKeyView:
        changed()
        response.headers["Cache-Control"] = _NO_STORE
        response.headers["Location"] = f"/v1/keys/{made.info.key.id}"
        return MadeKeyView(key=_view(made.info, clock.now()), secret=made.secret)

    @router.get("", summary="The keys", responses=refusals("invalid_parameter"))
    async def list_keys(
        principal: admins,
        kind: Annotated[Literal["write", "token"] | None, Query()] = None,
        ended: Annotated[bool, Query(description="Also those that were revoked or have expired.")] = False,
    ) -> KeyList:
        """Write keys and tokens, without their secrets: only hashes are stored."""
        found = await asyncio.to_thread(admin.keys, principal.workspace)
        views = [_view(info, clock.now()) for info in found]
        return KeyList(keys=tuple(
            view for view in views if (ended or view.state == "active") and kind in (None, view.kind)
        ))  # fmt: skip

    @router.post("", status_code=201, summary="Make a key", responses=refusals(*_WITH_BODY))
    async def create_key(body: NewKeyBody, principal: admins, response: Response) -> MadeKeyView:
        """The secret stands in this answer and nowhere else."""
        life = None if body.expires_in is None else parse_duration(body.expires_in)
        ends = None if life is None else clock.now() + life
        wanted = NewKey(KeyKind(body.kind), body.source, body.scopes, body.name, ends)
        return made_view(response, await asyncio.to_thread(admin.create, principal.workspace, wanted))

    @router.get("/{id}", summary="One key", responses=refusals("unknown_key"))
    async def read_key(id: _Id, principal: admins) -> KeyView:
        """One key, without its secret."""
        with problem_of():
            return _view(await asyncio.to_thread(admin.key, principal.workspace, id), clock.now())

    rotating = refusals(*_WITH_BODY, "unknown_key", "key_given", "key_replaced")

    @router.post("/{id}/rotate", status_code=201, summary="Replace a key", responses=rotating)
    async def rotate_key(id: _Id, body: RotateBody, principal: admins, response: Response) -> MadeKeyView:
        """Makes a key like this one; this one ends when the grace is over."""
        with problem_of():
            made = await asyncio.to_thread(admin.rotate, principal.workspace, id, parse_duration(body.grace))
        return made_view(response, made)

    revoking = refusals("unknown_key", "key_given", "last_admin_token")

    @router.delete("/{id}", status_code=204, summary="Revoke a key", responses=revoking)
    async def revoke_key(id: _Id, principal: admins) -> None:
        """Here it ends at once, in other processes within a minute. Revoking it again changes nothing."""
        with problem_of():
            await asyncio.to_thread(admin.revoke, principal.workspace, id)
        changed()

    return router


@contextmanager
def problem_of() -> Iterator[None]:
    """A block whose typed errors are answered as the problems of the same code."""
    try:
        yield
    except ServiceError as error:
        raise ProblemError(error.code) from error


def _milliseconds(text: str, low: int, high: int, bounds: str) -> int:
    try:
        found = parse_duration(text)
    except InvalidTime as error:
        raise ValueError(str(error)) from error
    if not low <= found <= high:
        raise ValueError(f"a duration {bounds}")
    return found


def _view(info: KeyInfo, now: int) -> KeyView:
    key = info.key

    def at(instant: int | None) -> str | None:
        return None if instant is None else format_instant(instant)

    return KeyView.model_validate({
        "id": key.id,
        "kind": key.kind.value,
        "state": info.state(now),
        "source": key.source,
        "scopes": sorted(scope.value for scope in key.scopes),
        "name": info.name,
        "hint": info.hint,
        "given": info.given,
        "created_at": None if info.given else at(info.created_at),
        "expires_at": at(key.expires_at),
        "revoked_at": at(info.revoked_at),
        "replaced_by": info.replaced_by,
    })  # fmt: skip
