"""The small types of the definition language: identifiers, durations, names of events, numbers, property tests."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from schemas.times import InvalidTime, parse_duration

__all__ = [
    "FACT_PREFIX",
    "IDENTIFY",
    "MAX_TEXT",
    "DurationMs",
    "EventName",
    "EventNames",
    "Identifier",
    "LanguageModel",
    "Languages",
    "Number",
    "PropertyName",
    "PropertyTest",
    "Scalar",
    "SinceEntry",
    "Test",
    "Where",
    "names_or_one",
]

FACT_PREFIX = "$stage:"
"""Name of the fact that a stage of another lifecycle was entered, before that lifecycle's name."""

IDENTIFY = "$identify"
"""Name of the event whose properties are traits."""

MAX_TEXT = 256
"""The longest text that a definition may compare with; longer values of properties are cut after it."""

_MAX_NAME = 128
_MAX_DURATION = 100 * 366 * 86_400_000
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2}(-[A-Z]{2})?", re.ASCII)

Scalar = str | int | float | bool


class LanguageModel(BaseModel):
    """Base of every part of a definition: strict types, no unknown keys, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise ValueError("An identifier begins with a letter and holds at most 64 letters, digits, `_` and `-`.")
    return value


def _event_name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("An event is named by text, for example Order Completed.")
    if len(value) > _MAX_NAME:
        raise ValueError(f"The name of an event has at most {_MAX_NAME} characters.")
    if value.startswith(FACT_PREFIX):
        raise ValueError("Stages of other lifecycles are asked for by `in_stage`, not by an event name.")
    return value


def _event_names(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ValueError("Name at least one event.")
    return tuple(_event_name(each) for each in values)


def _duration(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("A duration is a whole number and one of ms, s, m, h, d, w, for example 30d.")
    try:
        milliseconds = parse_duration(value)
    except InvalidTime as error:
        raise ValueError(str(error)) from error
    if not 0 < milliseconds <= _MAX_DURATION:
        raise ValueError("A duration is longer than nothing and at most a hundred years.")
    return milliseconds


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("This must be a number.")
    number = Decimal(repr(value))
    if abs(number) > Decimal(10) ** 15 or (number and abs(number) < Decimal(10) ** -9):
        raise ValueError("A number lies between -1e15 and 1e15 and has at most nine decimals.")
    return number


def _scalar(value: Any) -> Scalar:
    if not isinstance(value, str | int | float):
        raise ValueError("A property is compared with text, a number, true or false.")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ValueError(f"A text to compare with has at most {MAX_TEXT} characters.")
    return value


def _ordered(value: Any) -> Scalar:
    if isinstance(value, bool):
        raise ValueError("true and false have no order; compare with `eq`.")
    return _scalar(value)


def _scalars(value: Any) -> tuple[Scalar, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("This must be a list with at least one value.")
    return tuple(_scalar(each) for each in value)


def _property_name(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > _MAX_NAME:
        raise ValueError(f"The name of a property is text of at most {_MAX_NAME} characters.")
    return value


def _property_test(value: Any) -> Any:
    return value if isinstance(value, dict) else {"eq": value}


def _since(value: Any) -> str:
    if value != "entry":
        raise ValueError("`since` knows one value: entry (events of the present visit only).")
    return "entry"


def _language(value: Any) -> str:
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
        raise ValueError("A language is written like en or pt-BR.")
    return value


def names_or_one(value: Any) -> tuple[str, ...]:
    """One identifier, or a list of them, as a tuple. Raises `ValueError`."""
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ValueError("Name at least one.")
    return tuple(_identifier(each) for each in values)


Identifier = Annotated[str, BeforeValidator(_identifier)]
EventName = Annotated[str, BeforeValidator(_event_name)]
EventNames = Annotated[tuple[str, ...], BeforeValidator(_event_names)]
DurationMs = Annotated[int, BeforeValidator(_duration)]
Number = Annotated[Decimal, BeforeValidator(_number), PlainSerializer(str, return_type=str)]
PropertyName = Annotated[str, BeforeValidator(_property_name)]
SinceEntry = Annotated[str, BeforeValidator(_since)]
Languages = dict[Annotated[str, BeforeValidator(_language)], Annotated[str, Field(min_length=1, max_length=500)]]

_Value = Annotated[Any, BeforeValidator(_scalar)]
_Ordered = Annotated[Any, BeforeValidator(_ordered)]
_Values = Annotated[tuple[Any, ...], BeforeValidator(_scalars)]


class PropertyTest(LanguageModel):
    """What is asked of one property or trait; every operator given must hold. A missing value fits `exists: false`."""

    eq: _Value | None = None
    ne: _Value | None = None
    in_: _Values | None = Field(default=None, alias="in")
    not_in: _Values | None = None
    gt: _Ordered | None = None
    gte: _Ordered | None = None
    lt: _Ordered | None = None
    lte: _Ordered | None = None
    exists: bool | None = None
    prefix: Annotated[str, Field(max_length=MAX_TEXT)] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> "PropertyTest":
        if not self.model_fields_set or any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("Give at least one of eq, ne, in, not_in, gt, gte, lt, lte, exists, prefix, with a value.")
        return self

    def asked(self) -> list[tuple[str, Any]]:
        """The operators given, by their names in the language, with what they compare with."""
        given = [name for name in type(self).model_fields if name in self.model_fields_set]
        return [(name.removesuffix("_"), getattr(self, name)) for name in given]


Test = Annotated[PropertyTest, BeforeValidator(_property_test)]
Where = dict[PropertyName, Test]
