"""Properties and traits: how they are tested, kept, and read as numbers, dates and distinct values."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from schemas.language_types import MAX_TEXT, PropertyTest
from schemas.times import InvalidTime, parse_instant

__all__ = [
    "NANO",
    "Matcher",
    "ValueTest",
    "compile_test",
    "compile_where",
    "distinct_key",
    "fixed_point",
    "instant_of",
    "kept_value",
    "nanos",
]

NANO = 10**9
"""Sums are kept in whole billionths."""

_LARGEST = Decimal(10) ** 15
_MAX_INT = 2**63

ValueTest = Callable[[Any], bool]
Matcher = Callable[[Mapping[str, Any]], bool]
NOT_SCALAR: list[Any] = []


def _equal(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _comparable(value: Any, other: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, str) if isinstance(other, str) else isinstance(value, int | float)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "ne": lambda value, other: not _equal(value, other),
    "in": lambda value, others: any(_equal(value, other) for other in others),
    "not_in": lambda value, others: not any(_equal(value, other) for other in others),
    "gt": lambda value, other: _comparable(value, other) and value > other,
    "gte": lambda value, other: _comparable(value, other) and value >= other,
    "lt": lambda value, other: _comparable(value, other) and value < other,
    "lte": lambda value, other: _comparable(value, other) and value <= other,
    "prefix": lambda value, other: isinstance(value, str) and value.startswith(other),
}


def compile_test(test: PropertyTest) -> ValueTest:
    """A function from a value (None when it is missing or null) to whether it passes every operator of `test`."""
    asked = dict(test.asked())
    exists = asked.pop("exists", None)
    steps = tuple((_OPERATORS[name], operand) for name, operand in asked.items())

    def passes(value: Any) -> bool:
        if value is None:
            return exists is False and not steps
        if exists is False:
            return False
        for operator, operand in steps:
            if not operator(value, operand):
                return False
        return True

    return passes


def compile_where(where: Mapping[str, PropertyTest]) -> Matcher | None:
    """A function from properties to whether all of `where` passes; None when there is nothing to ask."""
    if not where:
        return None
    tests = tuple((name, compile_test(test)) for name, test in where.items())

    def matches(properties: Mapping[str, Any]) -> bool:
        for name, passes in tests:
            if not passes(properties.get(name)):
                return False
        return True

    return matches


def kept_value(value: Any) -> Any:
    """What is remembered of a value: scalars, long text cut where no test can tell, anything else as a mark."""
    if isinstance(value, str):
        return value[: MAX_TEXT + 1]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_MAX_INT <= value < _MAX_INT else float(str(value)[:400])
    return NOT_SCALAR


def distinct_key(value: Any) -> str | None:
    """A text that two values share only when they are the same; None for missing values, lists and objects."""
    if isinstance(value, str):
        return "s" + value[:MAX_TEXT]
    if isinstance(value, bool):
        return "b" + str(value)
    if isinstance(value, int | float):
        return "n" + str(int(value) if value == int(value) else value)[:MAX_TEXT]
    return None


def nanos(number: Decimal) -> int:
    """A number of the language in whole billionths."""
    return int(number.scaleb(9).to_integral_value())


def fixed_point(value: Any) -> int | None:
    """A property as whole billionths; None unless it is a number between -1e15 and 1e15."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value * NANO if -(10**15) <= value <= 10**15 else None
    number = Decimal(repr(value))
    return nanos(number) if abs(number) <= _LARGEST else None


def instant_of(value: Any) -> int | None:
    """A date carried by data, in ms: RFC 3339 text or a plain date (midnight UTC) of 1970 to 2100, else None."""
    if not isinstance(value, str):
        return None
    try:
        return parse_instant(value)
    except InvalidTime:
        return None
