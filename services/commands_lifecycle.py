"""`parcours lifecycle`: check a definition, run it over a file of events."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.errors import ServiceError

if TYPE_CHECKING:
    from schemas.language import DefinitionFile, InvalidDefinition
    from services.settings import Settings

__all__ = ["BadTime", "UnreadableDefinition", "add_lifecycle_commands", "run_check", "run_simulate"]

_OK, _REFUSED = 0, 2


class UnreadableDefinition(ServiceError):
    """The definition cannot be read. Give the path of a YAML file."""

    code = "unreadable_definition"


class BadTime(ServiceError):
    """--as-of is not a time. Write it like 2026-11-03T10:00:00Z."""

    code = "bad_time"


def add_lifecycle_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lifecycle` to the command line; its functions get (arguments, settings) and return the exit code."""
    parser = subparsers.add_parser(
        "lifecycle",
        help="check definitions, run them over events",
        description="Works on definition files alone: no server, no data folder.",
    )
    actions = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    check = actions.add_parser(
        "check",
        help="say what is wrong with a definition, and where",
        description="Reads definitions; prints one line for each, or for each mistake with file, line and column.",
    )
    check.add_argument("definitions", nargs="+", metavar="MODEL.yaml")
    check.set_defaults(command=run_check)
    run = actions.add_parser(
        "simulate",
        help="fold a file of events and print the transitions",
        description=(
            "Folds Segment-style events, one JSON object a line, with the machine alone, and prints each customer's "
            "transitions as JSON lines. Lines that name nobody are of one nameless customer. For a lifecycle of "
            "accounts a line belongs to its context.groupId; if none has one, user ids are taken for account ids. "
            "Events may have any name that the catalog in PARCOURS_DEFINITIONS_DIR knows for them."
        ),
    )
    run.add_argument("definition", metavar="MODEL.yaml")
    run.add_argument("events", metavar="EVENTS.ndjson", help="may end in .gz; - is standard input")
    run.add_argument("--as-of", metavar="T", help="the time to fold up to; default: that of the latest event")
    run.set_defaults(command=run_simulate)


def run_check(arguments: argparse.Namespace, _settings: "Settings") -> int:
    """Print what each definition is, or everything that is wrong with it; 0 if all can be used."""
    from schemas.language import InvalidDefinition

    code = _OK
    for path in arguments.definitions:
        try:
            file = _load(path)
        except InvalidDefinition as error:
            _tell_problems(error)
            code = _REFUSED
            continue
        transitions = sum(len(track.transitions) for track in file.tracks.values())
        print(
            f"{path}: {file.lifecycle} version {file.version}, {len(file.tracks)} tracks, "
            f"{transitions} transitions, {file.content_hash()[:12]}"
        )
    return code


def run_simulate(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Print the transitions of every customer of the file. Raises `ServiceError` for what cannot be read."""
    import msgspec

    from behavior import compile_definition
    from schemas.language import InvalidDefinition
    from services.definitions import event_names
    from services.simulation import read_subjects, simulate

    try:
        definition = compile_definition(_load(arguments.definition), event_names(settings.definitions_dir))
    except InvalidDefinition as error:
        _tell_problems(error)
        return _REFUSED
    as_of = _instant(arguments.as_of)
    subjects, left_out = read_subjects(arguments.events, definition.subject)
    if as_of is None:
        as_of = max((event.at for events in subjects.values() for event in events), default=0)
    encode = msgspec.json.Encoder().encode
    try:
        for line in simulate(definition, subjects, as_of):
            sys.stdout.write(encode(line).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if left_out:
        print(f"parcours: {left_out} lines name no account and were left out.", file=sys.stderr)
    return _OK


def _load(path: str) -> "DefinitionFile":
    from schemas.language import load_definition

    try:
        return load_definition(Path(path).read_bytes(), path)
    except FileNotFoundError as error:
        raise UnreadableDefinition(f"There is no file {path}. Give the path of a definition in YAML.") from error
    except OSError as error:
        raise UnreadableDefinition(f"{path} cannot be read: {error.strerror}. Give the path of a YAML file.") from error


def _instant(text: str | None) -> int | None:
    from schemas.times import InvalidTime, parse_instant

    try:
        return None if text is None else parse_instant(text)
    except InvalidTime as error:
        raise BadTime(f"--as-of: {error}") from error


def _tell_problems(error: "InvalidDefinition") -> None:
    for line in str(error).splitlines():
        print(f"parcours: {line} [{error.code}]", file=sys.stderr)
