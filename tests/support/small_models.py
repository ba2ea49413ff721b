"""Definitions of a few lines, events at seconds after a start, and transitions as short texts."""

from collections.abc import Iterable
from typing import Any

from behavior import Definition, Event, Transition, compile_definition, fold
from schemas.language import load_definition

__all__ = ["START", "at", "compiled", "event", "journey", "told"]

START = 1_735_689_600_000
"""2025-01-01T00:00:00.000Z."""

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def at(text: str) -> int:
    """The instant of ``3d`` or ``3d+1ms`` after the start."""
    total = START
    for part in text.split("+"):
        digits = part.rstrip("msdh")
        total += int(digits) * _UNITS[part[len(digits) :]]
    return total


def compiled(tracks: str, head: str = "") -> Definition:
    """A definition of these tracks (YAML of the mapping below `tracks:`, in flow or block style)."""
    return compile_definition(load_definition(f"lifecycle: x\nversion: 1\nsubject: user\n{head}\ntracks: {tracks}\n"))


def event(when: str, name: str, /, identity: str | None = None, **properties: Any) -> Event:
    """An event; its id is `identity`, else its name and time."""
    return Event(at(when), identity or f"{name}@{when}", name, properties=properties)


def told(transitions: Iterable[Transition]) -> list[str]:
    """Transitions as ``seconds: track from>to transition (cause)``, the initial ones left out."""
    return [
        f"{(each.at - START) / 1000:.15g}: {each.track} {each.from_}>{each.to} {each.transition} ({each.cause})"
        for each in transitions
        if each.from_ is not None
    ]


def journey(definition: Definition, events: Iterable[Event], until: str = "1000d") -> list[str]:
    """The transitions of some events as texts, with and without short cuts the same."""
    given = list(events)
    made = fold(definition, given, at(until))[1]
    assert made == fold(definition, given, at(until), short_cuts=False)[1]
    return told(made)
