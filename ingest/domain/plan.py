"""The tracking plan at the door: what the catalog says of an event, compiled once into a few look-ups."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ingest.domain.checks import Check, Fault, check_of_object, common_types, further_checks
from ingest.domain.judging import CALLS
from ingest.domain.seen import Seen
from ingest.errors import Unacceptable
from ingest.ports import Source
from schemas.catalog import CONTROL, Catalog, CatalogEvent

__all__ = ["INVALID", "UNKNOWN", "TrackingPlan"]

UNKNOWN: Final = "unknown_event"
INVALID: Final = "invalid_event"

_UNKNOWN_FLAGS: Final = (UNKNOWN,)
_INVALID_FLAGS: Final = (INVALID,)
_NULL: Final = frozenset((type(None),))
_NOTHING: Final[Mapping[str, Any]] = {}

# What is remembered of properties that passed, per event: nobody fills the memory with ever new ones.
_MOST_PASSED: Final = 16
_MOST_PROPERTIES: Final = 32
_LONGEST: Final = 40


class _Shape(NamedTuple):
    """An event's properties: what is known to pass, the quick rules, and the whole checks for what these do not pass.

    `passed` holds names and types of properties, as they came, that need no further look than the checks of some.
    """

    passed: dict[tuple[Any, ...], "_Checks"]
    types: Mapping[str, frozenset[type]]
    checks: Mapping[str, Check]
    required: tuple[str, ...]
    strict: Check
    lenient: Check


_Checks = tuple[tuple[str, Check], ...]
_ABSENT: Final = _Shape({}, {}, {}, (), lambda _: None, lambda _: None)
"""Stands for an event that the catalog does not know."""


class TrackingPlan:
    """Looks every acceptable event up in the catalog, and counts it. Costs half a microsecond for most.

    An event that the catalog does not know, or that is not as it describes it, gets the flag `unknown_event` or
    `invalid_event`; from a strict source it is unacceptable. An empty catalog describes nothing: it flags nothing.
    Null counts as left out, and a number sent as text is minded only where the source is strict.
    """

    def __init__(self, catalog: Catalog, seen: Seen) -> None:
        """`seen` counts what was not refused."""
        self._seen = seen
        self._counters = seen.counters
        self._silent = not catalog.entries
        names = {name: name for name in catalog.entries if not name.startswith(CONTROL)} | catalog.aliases
        shapes = {name: _shape(catalog.entries[name].event) for name in set(names.values())}
        self._shapes: dict[str, _Shape | None] = {
            **dict.fromkeys(name for name in CALLS.values() if name is not None),
            **{name: shapes[canonical] for name, canonical in names.items()},
        }

    def check(self, source: Source, name: str, event: Mapping[str, Any], received_at: int) -> tuple[str, ...]:
        """The flags of an event (none: it is as the catalog describes it); called once for each that is acceptable.

        `received_at` in ms. Raises `Unacceptable` where the source is strict: ``unknown_event``, ``invalid_event``.
        """
        flags: tuple[str, ...] = ()
        shape = self._shapes.get(name, _ABSENT)
        if shape is not None:
            if shape is _ABSENT:
                flags = self._unknown(source)
            else:
                properties = event.get("properties") or _NOTHING
                checks = shape.passed.get((*properties, *map(type, properties.values())))
                if checks is None:
                    checks = _look(shape, properties)
                if checks is None or (checks and not _pass(checks, properties)):
                    flags = self._doubtful(source, shape, properties)
        key = (source.workspace, source.name, name)
        counter = self._counters.get(key)
        if counter is None:
            self._seen.begin(key, received_at, flagged=bool(flags))
            return flags
        if not counter[0]:
            counter[1] = counter[2] = received_at
        elif received_at > counter[2]:
            counter[2] = received_at
        counter[0] += 1
        if flags:
            counter[3] += 1
        return flags

    def _unknown(self, source: Source) -> tuple[str, ...]:
        if source.mode == "strict":
            raise Unacceptable(UNKNOWN)
        if self._silent:
            return ()
        self._seen.flag(source.workspace, source.name, UNKNOWN, warn=source.mode == "warn")
        return _UNKNOWN_FLAGS

    def _doubtful(self, source: Source, shape: _Shape, properties: Mapping[str, Any]) -> tuple[str, ...]:
        """The flags of an event that did not pass at once."""
        strict = source.mode == "strict"
        fault: Fault | None = (shape.strict if strict else shape.lenient)(properties)
        if fault is None:
            return ()
        if strict:
            pointer = f"/properties{fault.pointer}"
            raise Unacceptable(INVALID, f"{pointer}: {fault.sentence}", pointer)
        self._seen.flag(source.workspace, source.name, INVALID, warn=source.mode == "warn")
        return _INVALID_FLAGS


def _look(shape: _Shape, properties: Mapping[str, Any]) -> _Checks | None:
    """The checks left to make where each type is a common one and nothing is missing; None where that is not so."""
    for name, value in properties.items():
        types = shape.types.get(name)
        if types is not None and type(value) not in types:
            return None
    if any(properties.get(name) is None for name in shape.required):
        return None
    left = tuple(
        (name, shape.checks[name]) for name, value in properties.items() if name in shape.checks and value is not None
    )
    if (
        len(shape.passed) < _MOST_PASSED
        and len(properties) <= _MOST_PROPERTIES
        and all(len(name) <= _LONGEST for name in properties)
    ):
        shape.passed[*properties, *map(type, properties.values())] = left
    return left


def _pass(checks: _Checks, properties: Mapping[str, Any]) -> bool:
    for name, check in checks:
        if check(properties[name]) is not None:
            return False
    return True


def _shape(event: CatalogEvent) -> _Shape:
    properties, required = event.properties, event.required
    checks = {name: further_checks(each) for name, each in properties.items()}
    return _Shape(
        {},
        {name: common_types(each) | (set() if name in required else _NULL) for name, each in properties.items()},
        {name: found[0] if len(found) == 1 else _all_of(found) for name, found in checks.items() if found},
        tuple(required),
        check_of_object(properties, required),
        check_of_object(properties, required, lenient=True),
    )


def _all_of(checks: Sequence[Check]) -> Check:
    def check(value: Any) -> Fault | None:
        for each in checks:
            fault = each(value)
            if fault is not None:
                return fault
        return None

    return check
