"""From what the catalog describes to functions that find the first thing wrong with a value, compiled once.

They judge as a validator of JSON Schema judges the same description; nothing of a sender's text is run as a pattern.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.catalog import CatalogProperty
from schemas.times import InvalidTime, parse_instant

__all__ = ["MAX_ITEMS", "Check", "Fault", "check_of_object", "common_types", "further_checks"]

MAX_ITEMS: Final = 100
"""How many items of a list are looked at: a list that fills an event must not hold up the others."""

_MOST_PASSED: Final = 16
"""How many combinations of names and types are remembered, of objects in which nothing but the types is checked."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_NUMERIC: Final = frozenset({"number", "integer"})
_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
_COMMON: Final = {**_PYTHON, "integer": (int,)}
_WORDS: Final[Mapping[str, str]] = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


class Fault(NamedTuple):
    """What is wrong, and where: a JSON pointer below the value that was checked."""

    pointer: str
    sentence: str


Check = Callable[[Any], Fault | None]
"""The first thing that is wrong with a value, if anything is."""


def check_of_object(
    properties: Mapping[str, CatalogProperty], required: Sequence[str], *, lenient: bool = False
) -> Check:
    """The check of an object with these properties. Null counts as left out; `lenient`: a number may come as text."""
    checks = [(name, _pointer(name), _check(each, lenient=lenient)) for name, each in properties.items()]
    missing = [(name, Fault(_pointer(name), "This is missing.")) for name in required]
    plain = {name: common_types(each) for name, each in properties.items() if not further_checks(each)}
    passed: set[tuple[Any, ...]] = set()

    def check(value: Any) -> Fault | None:
        if type(value) is not dict:
            return Fault("", "This must be an object.")
        shape = (*value, *map(type, value.values()))
        if shape in passed:
            return None
        fault = look(value)
        if (
            fault is None
            and len(passed) < _MOST_PASSED
            and all(name in plain and type(each) in plain[name] for name, each in value.items())
        ):
            passed.add(shape)
        return fault

    def look(value: Mapping[str, Any]) -> Fault | None:
        for name, fault in missing:
            if value.get(name) is None:
                return fault
        for name, pointer, each in checks:
            given = value.get(name)
            found = None if given is None else each(given)
            if found is not None:
                return Fault(pointer + found.pointer, found.sentence)
        return None

    return check


def common_types(described: CatalogProperty) -> frozenset[type]:
    """The Python types that need no second look; whole numbers written as 3.0, and numbers sent as text, get one."""
    return frozenset(python for name in described.types for python in _COMMON[name])


def further_checks(described: CatalogProperty, *, lenient: bool = False) -> list[Check]:
    """What a value of a right type must fulfil besides; a check passes what is not of its type."""
    checks: list[Check] = []
    if described.minimum is not None or described.maximum is not None:
        checks.append(_between(described.minimum, described.maximum))
    if described.max_length is not None:
        checks.append(_short(described.max_length))
    if described.enum is not None:
        checks.append(_one_of(described.enum))
    if described.format is not None:
        checks.append(_time)
    if described.items is not None:
        checks.append(_each(_check(described.items, lenient=lenient)))
    if described.properties:
        inner = check_of_object(described.properties, described.required, lenient=lenient)
        checks.append(lambda value: inner(value) if type(value) is dict else None)
    return checks


def _check(described: CatalogProperty, *, lenient: bool) -> Check:
    names = frozenset(described.types)
    types = frozenset(python for name in names for python in _PYTHON[name])
    whole = "integer" in names and "number" not in names
    from_text = lenient and not _NUMERIC.isdisjoint(names) and str not in types
    wrong = Fault("", f"This must be {' or '.join(_WORDS[name] for name in described.types)}.")
    further = further_checks(described, lenient=lenient)

    def check(value: Any) -> Fault | None:
        if from_text and type(value) is str and _NUMBER.fullmatch(value):
            value = float(value) if "." in value else int(value)
        # A whole number written as 3.0 is one, as in JSON Schema.
        if type(value) not in types or (whole and type(value) is float and not value.is_integer()):
            return wrong
        for each in further:
            fault = each(value)
            if fault is not None:
                return fault
        return None

    return check


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _between(minimum: float | None, maximum: float | None) -> Check:
    low = -math.inf if minimum is None else minimum
    high = math.inf if maximum is None else maximum
    limits = [f"at least {minimum}"] * (minimum is not None) + [f"at most {maximum}"] * (maximum is not None)
    fault = Fault("", f"This must be {' and '.join(limits)}.")

    def check(value: Any) -> Fault | None:
        return None if type(value) not in (int, float) or low <= value <= high else fault

    return check


def _short(length: int) -> Check:
    fault = Fault("", f"This may have {length} characters.")

    def check(value: Any) -> Fault | None:
        return fault if type(value) is str and len(value) > length else None

    return check


def _one_of(values: Sequence[Any]) -> Check:
    # True equals 1 for Python, but not in JSON.
    allowed = frozenset((type(value) is bool, value) for value in values)
    fault = Fault("", f"This must be one of {', '.join(map(str, values))}.")

    def check(value: Any) -> Fault | None:
        return None if (type(value) is bool, value) in allowed else fault

    return check


def _time(value: Any) -> Fault | None:
    if type(value) is str:
        try:
            parse_instant(value)
        except InvalidTime as error:
            return Fault("", str(error))
    return None


def _each(item: Check) -> Check:
    def check(value: Any) -> Fault | None:
        for index, each in enumerate(value[:MAX_ITEMS] if type(value) is list else ()):
            fault = item(each)
            if fault is not None:
                return Fault(f"/{index}{fault.pointer}", fault.sentence)
        return None

    return check
