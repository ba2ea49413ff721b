"""Conditions in plain English: what is asked, what is needed, and what is there now."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from schemas.language import Condition
from schemas.language_predicates import DateTest, Ratio, Stream
from schemas.language_types import PropertyTest
from schemas.times import DAY, HOUR, MINUTE, SECOND, format_instant

__all__ = ["duration_words", "event_words", "needed_words", "present_words", "words_of"]

_UNITS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"), (1, "millisecond"))
_SIGNS = {"eq": "is", "ne": "is not", "gt": ">", "gte": "≥", "lt": "<", "lte": "≤", "prefix": "begins with"}


def duration_words(milliseconds: int) -> str:
    """A duration in its two largest units, for example ``12 days 3 hours``."""
    parts: list[str] = []
    rest = max(0, milliseconds)
    for size, unit in _UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {unit}{'' if number == 1 else 's'}")
        if len(parts) == 2:
            break
    return " ".join(parts) or "no time"


def event_words(events: tuple[str, ...]) -> str:
    """Names of events and groups, joined by *or*."""
    return _or([f"{name[1:]} events" if name.startswith("@") else name for name in events])


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _test_words(test: PropertyTest) -> str:
    parts = []
    for name, operand in test.asked():
        if name == "exists":
            parts.append("is given" if operand else "is missing")
        elif name in ("in", "not_in"):
            parts.append(("is " if name == "in" else "is not ") + _or([str(each) for each in operand]))
        else:
            parts.append(f"{_SIGNS[name]} {operand}")
    return " and ".join(parts)


def _stream_words(asked: Stream | DateTest) -> str:
    words = event_words(asked.event or ())
    if asked.where:
        words += " with " + " and ".join(f"{name} {_test_words(test)}" for name, test in asked.where.items())
    return words


def _window_words(asked: Any) -> str:
    words = "" if asked.within is None else f" within {duration_words(asked.within)}"
    return words + (" since entering the stage" if getattr(asked, "since", None) else "")


def _bounds_words(asked: Any) -> str:
    low, high = asked.at_least, asked.at_most
    parts = ([] if low is None else [f"at least {_plain(low)}"]) + ([] if high is None else [f"at most {_plain(high)}"])
    return " and ".join(parts)


def _plain(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def _ratio_words(asked: Ratio) -> str:
    above, below = _stream_words(asked.numerator), _stream_words(asked.denominator)
    return f"{above} for each {below}: {_bounds_words(asked)}{_window_words(asked)}, from {asked.min_sample} on"


def _date_words(asked: DateTest) -> str:
    what = f"the trait {asked.trait}" if asked.trait is not None else f"{asked.property} of {_stream_words(asked)}"
    if asked.within_next is not None:
        return f"{what} lies within the next {duration_words(asked.within_next)}"
    return f"{what} has passed" if asked.passed else f"{what} is still ahead"


def _in_stage_words(asked: Any) -> str:
    where = f"{asked.lifecycle} " if asked.lifecycle is not None else ""
    held = f" for {duration_words(asked.for_)}" if asked.for_ is not None else ""
    return f"{where}{asked.track} is {_or(list(asked.stage))}{held}"


def _score_words(asked: Any) -> str:
    bound = f"at least {_plain(asked.at_least)}" if asked.at_least is not None else f"below {_plain(asked.below)}"
    return f"the score {asked.name} is {bound}"


def _overdue_words(asked: Any) -> str:
    return (
        f"{_stream_words(asked)} overdue by {_plain(asked.factor)} times the usual gap, "
        f"at least {duration_words(asked.min)}, known from {asked.min_gaps} gaps"
    )


_WORDS: dict[str, Callable[[Any], str]] = {
    "count": lambda asked: f"{_stream_words(asked)}: {_bounds_words(asked)}{_window_words(asked)}",
    "did": lambda asked: f"{_stream_words(asked)} happened{_window_words(asked)}",
    "did_not": lambda asked: f"{_stream_words(asked)} did not happen{_window_words(asked)}",
    "inactive": lambda asked: (
        f"no {_stream_words(asked)} for {duration_words(asked.for_)}"
        + (" since entering the stage" if asked.since else "")
    ),
    "overdue": _overdue_words,
    "active_days": lambda asked: f"{_stream_words(asked)} on {_bounds_words(asked)} days{_window_words(asked)}",
    "distinct": lambda asked: (
        f"different {asked.property} of {_stream_words(asked)}: {_bounds_words(asked)}{_window_words(asked)}"
    ),
    "sum": lambda asked: (
        f"sum of {asked.property} of {_stream_words(asked)}: {_bounds_words(asked)}{_window_words(asked)}"
    ),
    "ratio": _ratio_words,
    "trend": lambda asked: (
        f"{_stream_words(asked)} fell by at least {_plain(asked.drop_at_least * 100)} % "
        f"from one {duration_words(asked.window)} to the next"
    ),
    "last": lambda asked: f"{asked.property} of the latest {_stream_words(asked)} {_test_words(asked.is_)}",
    "trait": lambda asked: f"the trait {asked.name} {_test_words(asked.is_)}",
    "score": _score_words,
    "date": _date_words,
    "stage_age": lambda asked: f"in this stage for {duration_words(asked)}",
    "in_stage": _in_stage_words,
    "milestone": lambda asked: f"the milestone {asked} was reached",
    "always": lambda asked: "always",
}

_NEEDED: dict[str, Callable[[Any], str]] = {
    "count": _bounds_words,
    "did": lambda asked: "at least 1",
    "did_not": lambda asked: "none",
    "inactive": lambda asked: duration_words(asked.for_),
    "overdue": lambda asked: f"{_plain(asked.factor)} times the usual gap",
    "active_days": _bounds_words,
    "distinct": _bounds_words,
    "sum": _bounds_words,
    "ratio": _bounds_words,
    "trend": lambda asked: f"{_plain(asked.drop_at_least * 100)} % fewer, from {asked.min_before} on",
    "last": lambda asked: _test_words(asked.is_),
    "trait": lambda asked: _test_words(asked.is_),
    "score": lambda asked: _score_words(asked).partition(" is ")[2],
    "date": lambda asked: "passed" if asked.passed else "ahead",
    "stage_age": duration_words,
    "in_stage": lambda asked: _in_stage_words(asked).partition(" is ")[2],
    "milestone": lambda asked: "reached",
    "always": lambda asked: "nothing",
}

_PRESENT: dict[str, Callable[[Any], str]] = {
    "inactive": duration_words,
    "overdue": duration_words,
    "stage_age": duration_words,
    "ratio": lambda value: f"{value['numerator']} of {value['denominator']}",
    "trend": lambda value: f"{value['last_window']}, before that {value['window_before']}",
    "score": lambda value: f"{value:.2f}",
    "sum": lambda value: f"{value.normalize():f}",
    "date": format_instant,
    "in_stage": lambda value: f"{value['stage']} for {duration_words(value['age'])}",
    "milestone": lambda value: "reached" if value else "not reached",
    "always": lambda value: "",
}


def _asked(kind: str, source: Any) -> Any:
    return getattr(source, kind) if isinstance(source, Condition) else source


def words_of(kind: str, source: Any) -> str:
    """What a predicate asks. `source` is its condition, for an `after` its duration (ms)."""
    return _WORDS[kind](_asked(kind, source))


def needed_words(kind: str, source: Any) -> str:
    """What must be there for a predicate to hold."""
    return _NEEDED[kind](_asked(kind, source))


def present_words(kind: str, value: Any) -> str:
    """What is there now."""
    if value is None:
        return "nothing yet"
    return _PRESENT.get(kind, str)(value)
