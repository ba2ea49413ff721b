"""Reads a folder of definitions and compiles them."""

from pathlib import Path

from behavior import Definition, compile_definition
from schemas.language import load_definition

__all__ = ["NoDefinitions", "TwoDefinitions", "load_definitions"]


class NoDefinitions(ValueError):
    """The folder of definitions does not exist or holds none. Set PARCOURS_DEFINITIONS_DIR to one that does."""

    code = "no_definitions"


class TwoDefinitions(ValueError):
    """Two files define the same name. Rename one of them."""

    code = "two_definitions"


def load_definitions(folder: Path) -> tuple[Definition, ...]:
    """The definitions of ``*.yaml`` in `folder`, compiled, by file name.

    Raises `schemas.language.InvalidDefinition` (file, line, sentence), `NoDefinitions`, `TwoDefinitions`.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise NoDefinitions(
            f"There is no definition (*.yaml) in {folder}. Set PARCOURS_DEFINITIONS_DIR to a folder with some."
        )
    found: dict[str, tuple[Path, Definition]] = {}
    for path in paths:
        definition = compile_definition(load_definition(path.read_bytes(), str(path)))
        if definition.name in found:
            other = found[definition.name][0]
            raise TwoDefinitions(f"{other} and {path} both define `{definition.name}`. Rename one of them.")
        found[definition.name] = (path, definition)
    return tuple(definition for _, definition in found.values())
