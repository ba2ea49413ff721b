"""The closed set of predicates that a condition may ask."""

from decimal import Decimal
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas.language_types import (
    DurationMs,
    EventNames,
    Identifier,
    LanguageModel,
    Number,
    PropertyName,
    SinceEntry,
    Test,
    Where,
    names_or_one,
)

__all__ = [
    "ActiveDays",
    "Condition",
    "Count",
    "DateTest",
    "Distinct",
    "Happened",
    "InStage",
    "Inactive",
    "Last",
    "Overdue",
    "Ratio",
    "ScoreTest",
    "Stream",
    "Sum",
    "TraitTest",
    "Trend",
]

_Whole = Annotated[int, Field(ge=0, le=1_000_000)]
_Names = Annotated[tuple[str, ...], BeforeValidator(names_or_one)]


class Stream(LanguageModel):
    """The events that a predicate looks at: by name (a list counts as one stream), and by their properties."""

    event: EventNames
    where: Where = Field(default_factory=dict)


class _Windowed(Stream):
    within: DurationMs | None = None
    since: SinceEntry | None = None


class _WholeBounds(_Windowed):
    at_least: _Whole | None = None
    at_most: _Whole | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "_WholeBounds":
        _check_bounds(self.at_least, self.at_most)
        return self


def _check_bounds(low: int | Decimal | None, high: int | Decimal | None) -> None:
    if low is None and high is None:
        raise ValueError("Give `at_least`, `at_most`, or both.")
    if low is not None and high is not None and low > high:
        raise ValueError("`at_least` is greater than `at_most`, so this can never hold.")


class Count(_WholeBounds):
    """How many events match."""


class Happened(_Windowed):
    """`did`: at least one event matches; `did_not`: none does."""


class Inactive(Stream):
    """No matching event for a while, counted from the first event of any kind, or from the entry with `since`."""

    for_: DurationMs = Field(alias="for")
    since: SinceEntry | None = None


class Overdue(Stream):
    """Later than one's own rhythm: the median gap between the last 11 matching events, times `factor`."""

    factor: Annotated[Number, Field(gt=0, le=1000)]
    min: DurationMs
    min_gaps: Annotated[int, Field(ge=1, le=10)] = 3


class ActiveDays(_WholeBounds):
    """On how many calendar days (in the definition's zone) events match."""


class Distinct(_WholeBounds):
    """How many different values of a property matching events carry."""

    property: PropertyName


class Sum(_Windowed):
    """The sum of a property over matching events."""

    property: PropertyName
    at_least: Number | None = None
    at_most: Number | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "Sum":
        _check_bounds(self.at_least, self.at_most)
        return self


class Ratio(LanguageModel):
    """How many events match the numerator for each that matches the denominator, once there are enough of these."""

    numerator: Stream
    denominator: Stream
    within: DurationMs
    min_sample: Annotated[int, Field(ge=1, le=2000)] = 1
    at_least: Number | None = None
    at_most: Number | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "Ratio":
        _check_bounds(self.at_least, self.at_most)
        return self


class Trend(Stream):
    """Fewer events in the last window than in the one before, by at least this share."""

    window: DurationMs
    drop_at_least: Annotated[Number, Field(gt=0, le=1)]
    min_before: Annotated[int, Field(ge=1, le=2000)] = 3


class Last(Stream):
    """What the latest matching event carries in a property."""

    property: PropertyName
    is_: Test = Field(alias="is")


class TraitTest(LanguageModel):
    """What the profile says."""

    name: PropertyName
    is_: Test = Field(alias="is")


class ScoreTest(LanguageModel):
    """Where a decaying score stands."""

    name: Identifier
    at_least: Annotated[Number, Field(gt=0)] | None = None
    below: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "ScoreTest":
        if (self.at_least is None) == (self.below is None):
            raise ValueError("Give either `at_least` or `below`.")
        return self


class DateTest(LanguageModel):
    """A date carried by data: the one on the latest matching event that has it, or a trait."""

    event: EventNames | None = None
    where: Where = Field(default_factory=dict)
    property: PropertyName | None = None
    trait: PropertyName | None = None
    within_next: DurationMs | None = None
    passed: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> "DateTest":
        if (self.event is None) == (self.trait is None) or (self.event is None) != (self.property is None):
            raise ValueError("Give `event` with `property`, or `trait`.")
        if self.trait is not None and self.where:
            raise ValueError("`where` goes with `event`.")
        if (self.within_next is None) == (self.passed is None):
            raise ValueError("Give either `within_next` or `passed`.")
        return self


class InStage(LanguageModel):
    """Where another track stands: one of this file, or of the lifecycle that `lifecycle` names."""

    lifecycle: Identifier | None = None
    track: Identifier
    stage: _Names
    for_: DurationMs | None = Field(default=None, alias="for")


class Condition(LanguageModel):
    """One predicate, or `all`, `any`, `not` of conditions. Exactly one key is given."""

    count: Count | None = None
    did: Happened | None = None
    did_not: Happened | None = None
    inactive: Inactive | None = None
    overdue: Overdue | None = None
    active_days: ActiveDays | None = None
    distinct: Distinct | None = None
    sum: Sum | None = None
    ratio: Ratio | None = None
    trend: Trend | None = None
    last: Last | None = None
    trait: TraitTest | None = None
    score: ScoreTest | None = None
    date: DateTest | None = None
    stage_age: DurationMs | None = None
    in_stage: InStage | None = None
    milestone: Identifier | None = None
    all: Annotated[list["Condition"], Field(min_length=1, max_length=64)] | None = None
    any: Annotated[list["Condition"], Field(min_length=1, max_length=64)] | None = None
    not_: "Condition | None" = Field(default=None, alias="not")
    always: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Condition":
        given = [name for name in self.model_fields_set if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("A condition has exactly one key. Join several with `all` or `any`.")
        return self

    @cached_property
    def kind(self) -> str:
        """The key that was given, as it stands in the language."""
        return next(name for name in self.model_fields_set if getattr(self, name) is not None).removesuffix("_")

    def parts(self) -> list["Condition"]:
        """The conditions directly inside this one."""
        return self.all or self.any or ([self.not_] if self.not_ is not None else [])
