"""The event catalog from its folder: read, checked, and kept as long as no file of it changes."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from schemas.catalog import Catalog, join_files, read_catalog_file
from schemas.language_yaml import InvalidDefinition, Problem

__all__ = ["FOLDER", "load_catalog"]

FOLDER = "catalog"
"""Below the folder of definitions."""


class _File(NamedTuple):
    """A file as it was found: a changed one is another one."""

    path: str
    size: int
    changed: int


def load_catalog(definitions: Path) -> Catalog:
    """The catalog of ``definitions/catalog/*.yaml``; an empty one where there is no such folder.

    Raises `InvalidDefinition` with every problem of every file.
    """
    found = sorted(path for path in (definitions / FOLDER).glob("*.yaml") if not path.name.startswith("."))
    return _load(tuple(_File(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found))


@lru_cache(maxsize=4)
def _load(files: tuple[_File, ...]) -> Catalog:
    problems: list[Problem] = []
    loaded = []
    for path, _, _ in files:
        try:
            loaded.append(read_catalog_file(Path(path).read_bytes(), path))
        except InvalidDefinition as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidDefinition(problems)
    return join_files(loaded)
