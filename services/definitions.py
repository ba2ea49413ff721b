"""Definitions from their folder: read, checked and compiled, or refused with file, line and sentence."""

from pathlib import Path

from behavior import Definition, compile_definition
from schemas.language import load_definition
from schemas.language_yaml import InvalidDefinition, Problem

__all__ = ["load_lifecycles", "load_segments"]


def load_lifecycles(folder: Path) -> tuple[Definition, ...]:
    """The lifecycles of ``folder/lifecycles/*.yaml``, by name of file. Raises `InvalidDefinition`."""
    return _load(folder / "lifecycles")


def load_segments(folder: Path) -> tuple[Definition, ...]:
    """The segments files of ``folder/segments/*.yaml``, by name of file. Raises `InvalidDefinition`."""
    return _load(folder / "segments")


def _load(folder: Path) -> tuple[Definition, ...]:
    if not folder.is_dir():
        sentence = "There is no such folder. Set PARCOURS_DEFINITIONS_DIR to one that holds lifecycles/ and segments/."
        raise InvalidDefinition([Problem(str(folder), 1, 1, "no_definitions", sentence)])
    problems: list[Problem] = []
    found: dict[str, Definition] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name.startswith("."):
            continue
        try:
            definition = compile_definition(load_definition(path.read_bytes(), str(path)))
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
