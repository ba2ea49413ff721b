"""Other names of events: whatever a sender calls an event, a definition that asks for it means it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = ["Names"]

Value = TypeVar("Value")


class Names:
    """Which names mean the same event. A definition is compiled for all of them, so events keep their senders' words.

    `aliases` leads from each further name to the event's own.
    """

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self._own = dict(aliases or {})
        self._all: dict[str, list[str]] = {}
        for alias, name in self._own.items():
            self._all.setdefault(name, [name]).append(alias)

    def all_of(self, names: Iterable[str]) -> frozenset[str]:
        """Every name of the events that are named."""
        return frozenset(each for name in names for each in self._same(name))

    def spread(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """What is given for events, for each of their names; what is given for a name itself counts for that name."""
        spread = {each: value for name, value in values.items() for each in self._same(name)}
        return spread | dict(values)

    def stamp(self, content: str, names: Iterable[str]) -> str:
        """The hash `content` of a definition that touches `names`; another one if some of them are further names."""
        found = sorted((name, self._own[name]) for name in names if name in self._own)
        return hashlib.sha256(f"{content}{found}".encode()).hexdigest() if found else content

    def _same(self, name: str) -> list[str]:
        own = self._own.get(name, name)
        return self._all.get(own, [own])
