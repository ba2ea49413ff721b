"""The machine alone over a file of events: reads Segment-style JSON lines and folds each customer."""

import gzip
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from behavior import Definition, Event, Transition, fold
from behavior.errors import BehaviorError
from ingest.domain.judging import CALLS
from schemas.ids import InvalidId, account_subject, anonymous_subject, display_id, user_subject
from schemas.language_types import FACT_PREFIX
from schemas.times import InvalidTime, format_instant, parse_instant
from services.errors import ServiceError

__all__ = ["STANDARD_INPUT", "CannotFold", "UnusableEvents", "read_subjects", "simulate"]

STANDARD_INPUT = "-"
_LONGEST_LINE = 1024 * 1024
_RESERVED = (FACT_PREFIX, *(name for name in CALLS.values() if name is not None and name.startswith("$")))


class UnusableEvents(ServiceError):
    """The file of events cannot be used. It holds one JSON object a line, in the shape of Segment's calls."""

    code = "unusable_events"


class CannotFold(ServiceError):
    """The definition cannot be run over these events."""

    code = "cannot_fold"


class _Context(msgspec.Struct, rename="camel"):
    group_id: str | int | None = None
    traits: dict[str, Any] | None = None


class _Line(msgspec.Struct, rename="camel"):
    type: str
    timestamp: str
    message_id: str | None = None
    event: str | None = None
    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    group_id: str | int | None = None
    context: _Context | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None


class _Read(NamedTuple):
    person: str | None
    account: str | None
    event: Event


Subjects = Mapping[str | None, list[Event]]
"""Events per subject; lines that name nobody are of one nameless subject, None."""

_decoder = msgspec.json.Decoder(_Line)


def read_subjects(path: str, kind: str) -> tuple[Subjects, int]:
    """The events of a file per subject of `kind` (user or account), and how many lines belong to none.

    `path` may end in ``.gz`` or be ``-``. For accounts a line belongs to its `context.groupId` (a group call: its
    `groupId`); if no line of the file names an account, the ids of users are taken for those of accounts. Raises
    `UnusableEvents` with file and line.
    """
    lines = list(_read_lines(path))
    by_account = kind == "account" and any(line.account is not None for line in lines)
    subjects: dict[str | None, list[Event]] = {}
    left_out = 0
    for line in lines:
        subject = line.account if by_account else line.person
        if by_account and subject is None:
            left_out += 1
            continue
        subjects.setdefault(subject, []).append(line.event)
    return subjects, left_out


def simulate(definition: Definition, subjects: Subjects, as_of: int) -> Iterator[dict[str, Any]]:
    """The transitions of every subject up to `as_of` (ms), as objects to print. Raises `CannotFold`."""
    for subject, events in subjects.items():
        customer = None if subject is None else display_id(subject)
        try:
            made = fold(definition, events, as_of)[1]
        except BehaviorError as error:
            raise CannotFold(f"{error} (customer {customer})") from error
        for transition in made:
            yield _printed(customer, transition)


def _printed(customer: str | None, made: Transition) -> dict[str, Any]:
    return {
        "customer": customer,
        "track": made.track,
        "ordinal": made.ordinal,
        "step": made.step,
        "from": made.from_,
        "to": made.to,
        "transition": made.transition,
        "visit": made.visit,
        "reason": made.reason,
        "effective_at": format_instant(made.at),
        "cause": made.cause,
    }


def _read_lines(path: str) -> Iterator[_Read]:
    shown = "standard input" if path == STANDARD_INPUT else path
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise UnusableEvents(f"{shown}:{number}: The line is longer than 1 MiB. An event is one line.")
                if line.strip():
                    yield _read_line(line, f"{shown}:{number}", number)
    except FileNotFoundError as error:
        raise UnusableEvents(f"There is no file {path}. Give a file of JSON lines, or - for standard input.") from error
    except IsADirectoryError as error:
        raise UnusableEvents(f"{path} is a folder. Give a file of JSON lines, or - for standard input.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnusableEvents(f"{shown} is not a complete gzip file. Compress it again, or give it plain.") from error


def _opened(path: str) -> AbstractContextManager[BinaryIO]:
    if path == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)
    if path.endswith(".gz"):
        return cast(AbstractContextManager[BinaryIO], gzip.open(path, "rb"))
    return Path(path).open("rb")


def _read_line(line: bytes, where: str, number: int) -> _Read:
    try:
        body = _decoder.decode(line)
        return _Read(_person(body), _account(body), _event(body, number))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableEvents(f"{where}: This is no event: {error}.") from error
    except RecursionError as error:
        raise UnusableEvents(f"{where}: The event is nested too deeply.") from error
    except (InvalidTime, InvalidId, ValueError) as error:
        raise UnusableEvents(f"{where}: {error}") from error


def _event(body: _Line, number: int) -> Event:
    if body.type not in CALLS:
        raise ValueError(f"The type is none of {', '.join(CALLS)}.")
    name = CALLS[body.type] or body.event
    if not name or (body.type == "track" and name.startswith(_RESERVED)):
        raise ValueError("A track call names its event in `event`, and not like one of Parcours' own.")
    properties = body.properties or {}
    if body.type == "identify":
        nested = body.context.traits if body.context is not None else None
        properties = {**(nested or {}), **(body.traits or {})}
    return Event(parse_instant(body.timestamp), body.message_id or f"line-{number:09d}", name, properties=properties)


def _person(body: _Line) -> str | None:
    if _given(body.user_id):
        return user_subject(str(body.user_id))
    return anonymous_subject(str(body.anonymous_id)) if _given(body.anonymous_id) else None


def _account(body: _Line) -> str | None:
    group = body.group_id if body.type == "group" else None
    if not _given(group) and body.context is not None:
        group = body.context.group_id
    return account_subject(str(group)) if _given(group) else None


def _given(identifier: str | int | None) -> bool:
    return identifier is not None and identifier != ""
