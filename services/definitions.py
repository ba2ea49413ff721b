"""Definitions from their folder: read, checked and compiled, or refused with file, line and sentence.

They are compiled for all names that the catalog beside them knows for an event: records keep the sender's words.
"""

from pathlib import Path

from behavior import Definition, Names, compile_definition
from schemas.language import load_definition
from schemas.language_yaml import InvalidDefinition, Problem
from services.event_catalog import load_catalog

__all__ = ["event_names", "load_lifecycles", "load_segments"]


def load_lifecycles(folder: Path) -> tuple[Definition, ...]:
    """The lifecycles of ``folder/lifecycles/*.yaml``, by name of file. Raises `InvalidDefinition`."""
    return _load(folder / "lifecycles", event_names(folder))


def load_segments(folder: Path) -> tuple[Definition, ...]:
    """The segments files of ``folder/segments/*.yaml``, by name of file. Raises `InvalidDefinition`."""
    return _load(folder / "segments", event_names(folder))


def event_names(folder: Path) -> Names:
    """The further names of events that the catalog in ``folder/catalog`` has. Raises `InvalidDefinition`."""
    return Names(load_catalog(folder).aliases)


def _load(folder: Path, names: Names) -> tuple[Definition, ...]:
    if not folder.is_dir():
        sentence = "There is no such folder. Set PARCOURS_DEFINITIONS_DIR to one that holds lifecycles/ and segments/."
        raise InvalidDefinition([Problem(str(folder), 1, 1, "no_definitions", sentence)])
    problems: list[Problem] = []
    found: dict[str, Definition] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name.startswith("."):
            continue
        try:
            definition = compile_definition(load_definition(path.read_bytes(), str(path)), names)
        except InvalidDefinition as error:
            problems.extend(error.problems)
            continue
        if definition.name in found:
            sentence = f"Another file of this folder defines {definition.name} too. Rename one of them, or remove it."
            problems.append(Problem(str(path), 1, 1, "duplicate_definition", sentence))
        found[definition.name] = definition
    if problems:
        raise InvalidDefinition(problems)
    return tuple(found.values())
