"""YAML for definitions: the 1.2 core schema, no anchors, aliases or tags, and the place of every key and value."""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Document", "InvalidDefinition", "Path", "Place", "Problem", "parse_yaml"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
_MAX_NUMBER = 32

Path = tuple[str | int, ...]

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(NamedTuple):
    """Where something stands in a file: line and column, both counted from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One thing wrong with a definition: where, a stable code, and a sentence with a way out."""

    file: str
    line: int
    column: int
    code: str
    sentence: str

    def __str__(self) -> str:
        """``file:line:column: sentence``."""
        return f"{self.file}:{self.line}:{self.column}: {self.sentence}"


class InvalidDefinition(ValueError):
    """The definition cannot be used. Each problem names file, line and column; correct them and load it again."""

    code = "invalid_definition"

    def __init__(self, problems: list[Problem]) -> None:
        """Keep every problem found, in the order of the file."""
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.column))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Document(NamedTuple):
    """A parsed file: its data, and for every path the places of the value and of the key that leads to it."""

    file: str
    data: Any
    values: dict[Path, Place]
    keys: dict[Path, Place]

    def problem(self, path: Path, code: str, sentence: str, *, at_key: bool = False) -> Problem:
        """A problem at `path`, or at the nearest enclosing value that the file holds."""
        if at_key and path in self.keys:
            place = self.keys[path]
        else:
            while path not in self.values and path:
                path = path[:-1]
            place = self.values.get(path, Place(1, 1))
        return Problem(self.file, place.line, place.column, code, sentence)


def parse_yaml(source: str | bytes, file: str) -> Document:
    """Read one YAML document of at most 256 KiB and 32 levels.

    `file` is the name to show in problems. Raises `InvalidDefinition` with file, line and column.
    """
    text = _decode(source, file)
    builder = _Builder(file)
    try:
        builder.run(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise builder.refuse(place, "yaml_syntax", f"This is not YAML: {said}.") from None
    except yaml.reader.ReaderError as error:
        place = _place_of_offset(text, error.position)
        raise builder.refuse(place, "yaml_characters", "A character here is not allowed in YAML. Remove it.") from None
    return Document(file, builder.data, builder.values, builder.keys)


def _decode(source: str | bytes, file: str) -> str:
    if isinstance(source, str):
        try:
            raw = source.encode()
        except UnicodeEncodeError:
            raise InvalidDefinition(
                [Problem(file, 1, 1, "not_utf8", "The text holds half a surrogate pair. Save it as UTF-8.")]
            ) from None
    else:
        raw = source
    if len(raw) > MAX_BYTES:
        sentence = f"The file is larger than {MAX_BYTES // 1024} KiB. Split it into several definitions."
        raise InvalidDefinition([Problem(file, 1, 1, "too_large", sentence)])
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidDefinition(
            [Problem(file, line, 1, "not_utf8", "The file is not UTF-8 text. Save it as UTF-8.")]
        ) from None


def _place_of_offset(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


class _Builder:
    """Builds data from parser events, refusing what the language does not allow as soon as it is seen."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.data: Any = None
        self.values: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}

    def refuse(self, place: Place, code: str, sentence: str) -> InvalidDefinition:
        return InvalidDefinition([Problem(self.file, place.line, place.column, code, sentence)])

    def run(self, events: Iterator[Any]) -> None:
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    sentence = "A file holds one definition. Move the second document into its own file."
                    raise self.refuse(_place(event), "several_documents", sentence)
            elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent | yaml.AliasEvent):
                self.data = self._value(event, events, (), 1)
        if not documents:
            raise self.refuse(
                Place(1, 1), "empty", "The file is empty. Write a definition beginning with `lifecycle:`."
            )

    def _value(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> Any:
        place = _place(event)
        self.values[path] = place
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self.refuse(place, "yaml_alias", "Anchors and aliases are not allowed. Write the value out.")
        if event.tag is not None and event.tag != "!":
            raise self.refuse(place, "yaml_tag", "Tags such as !!str are not allowed. Use quotes for text.")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if depth > MAX_DEPTH:
            raise self.refuse(place, "too_deep", f"More than {MAX_DEPTH} levels are nested here. Make it flatter.")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path, depth)
        return self._mapping(events, path, depth)

    def _sequence(self, events: Iterator[Any], path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._value(event, events, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, events: Iterator[Any], path: Path, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            place = _place(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.refuse(place, "yaml_key", "A key must be plain text.")
            key = self._value(event, events, (*path, event.value), depth)
            if not isinstance(key, str):
                sentence = f"The key {_short(event.value)} is not text. Put it in quotes."
                raise self.refuse(place, "yaml_key", sentence)
            if key in items:
                sentence = f"The key {_short(key)} stands twice in this mapping. Remove one of them."
                raise self.refuse(place, "yaml_duplicate_key", sentence)
            self.keys[(*path, key)] = place
            items[key] = self._value(next(events), events, (*path, key), depth + 1)
        return items

    def _scalar(self, event: Any, place: Place) -> str | int | float | bool | None:
        text: str = event.value
        if not event.implicit[0] or event.style:
            return text
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text):
            return True
        if _FALSE.fullmatch(text):
            return False
        if not (_INT.fullmatch(text) or _BASED.fullmatch(text) or _FLOAT.fullmatch(text)):
            if _NOT_FINITE.fullmatch(text):
                raise self.refuse(place, "yaml_number", "A number must be finite.")
            return text
        if len(text) > _MAX_NUMBER:
            raise self.refuse(place, "yaml_number", "This number is too long. Put it in quotes if it is text.")
        if _INT.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        number = float(text)
        if not math.isfinite(number):
            raise self.refuse(place, "yaml_number", "A number must be finite.")
        return number


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _short(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:63] + "…")
