"""What the stage engine's API refuses: every error is a problem with a code of `schemas.problems`."""

from schemas.ids import InvalidId, parse_customer_id
from schemas.problems import ProblemError
from schemas.times import InvalidTime, parse_instant

__all__ = ["instant_given", "subject_given"]


def subject_given(identifier: str) -> str:
    """The subject that an id in the API means. Raises `ProblemError` (`invalid_id`)."""
    try:
        return parse_customer_id(identifier)
    except InvalidId as error:
        raise ProblemError("invalid_id", str(error)) from error


def instant_given(text: str | None) -> int | None:
    """An instant (ms) given as RFC 3339 text, if any. Raises `ProblemError` (`invalid_timestamp`)."""
    if text is None:
        return None
    try:
        return parse_instant(text)
    except InvalidTime as error:
        raise ProblemError("invalid_timestamp", str(error)) from error
