"""What messages need to know of a subject: address, name, language; each with the place in time where it was said."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from schemas.records import BadRecord

__all__ = ["TRAITS", "Position", "Profile", "address_of", "greeting_of", "locale_of", "merge", "traits_of"]

TRAITS: Final = ("email", "first_name", "firstName", "name", "locale", "language")
"""The traits that are kept; nothing else of an `identify` is."""

_MAX_VALUE = 256
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)


class Position(NamedTuple):
    """Where an event stands in the canonical order of its subject: time (ms), sequence (none first), message id."""

    at: int
    sequenced: bool
    sequence: int
    message_id: str


Profile = dict[str, tuple[str | None, Position]]
"""Per trait its value as text (None: taken back), and where the latest event that gave it stands."""


def traits_of(body: bytes) -> dict[str, str | None]:
    """The traits worth keeping in an `identify` or `group`: `traits` over `context.traits`; text of at most 256.

    Raises `BadRecord` when the body is not a JSON object.
    """
    try:
        call = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecord("The event's body is not JSON.") from error
    if not isinstance(call, dict):
        raise BadRecord("The event's body is not a JSON object.")
    context = call.get("context")
    merged: dict[str, Any] = {}
    for given in (context.get("traits") if isinstance(context, dict) else None, call.get("traits")):
        if isinstance(given, dict):
            merged.update(given)
    return {name: _text(merged[name]) for name in TRAITS if name in merged}


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return value.strip()[:_MAX_VALUE] or None


def merge(profile: Profile, traits: Mapping[str, str | None], position: Position) -> bool:
    """Take traits over where their event is later than the one known; say whether any value changed."""
    changed = False
    for name, value in traits.items():
        known = profile.get(name)
        if known is not None and known[1] >= position:
            continue
        changed = changed or known is None or known[0] != value
        profile[name] = (value, position)
    return changed


def address_of(profile: Profile) -> str | None:
    """The address to send to, or None when there is none or it is none that mail can be sent to."""
    value = _value(profile, "email")
    if value is None:
        return None
    local, at, domain = value.rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        return None
    labels = domain.split(".")
    if not at or len(local) > 64 or len(domain) > 253 or not _LOCAL.fullmatch(local):
        return None
    return f"{local}@{domain}" if all(_LABEL.fullmatch(label) for label in labels) else None


def greeting_of(profile: Profile) -> dict[str, str]:
    """The names that are known, else empty texts. `greeting`: the first name, or the whole one when that is not known.

    A whole name is never cut in two: which part of it is the first name differs from country to country.
    """
    first = _value(profile, "first_name") or _value(profile, "firstName") or ""
    name = _value(profile, "name") or first
    return {"first_name": first, "name": name, "greeting": first or name}


def locale_of(profile: Profile) -> str | None:
    """The language asked for (``fr`` of ``fr-CA``), or None."""
    for trait in ("locale", "language"):
        value = _value(profile, trait)
        if value is not None and re.match(r"[A-Za-z]{2}($|[-_])", value):
            return value[:2].lower()
    return None


def _value(profile: Profile, trait: str) -> str | None:
    known = profile.get(trait)
    return known[0] if known else None
