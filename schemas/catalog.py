"""The event catalog: what events are called, what they carry, and what they are for.

A catalog file lists events by name; the files of a folder make one catalog. An alias is another name under which
senders know an event: it counts as the event's own wherever a rule asks for it, and the record keeps the sender's word.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from schemas.language_errors import explain_errors
from schemas.language_types import EventName, Identifier, LanguageModel, Languages, PropertyName, Scalar
from schemas.language_yaml import Document, InvalidDefinition, Path, Problem, parse_yaml

__all__ = ["CONTROL", "Catalog", "CatalogEntry", "CatalogEvent", "CatalogFile", "CatalogProperty"]
__all__ += ["LoadedFile", "Phase", "Retention", "Spec", "join_files", "read_catalog_file"]

CONTROL: Final = "$"
"""What the names of Parcours' own events begin with."""

_LANGUAGES: Final = ("en", "fr")
_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "minimum": ("number", "integer"),
    "maximum": ("number", "integer"),
    "max_length": ("string",),
    "format": ("string",),
    "items": ("array",),
    "properties": ("object",),
    "required": ("object",),
}
_MAX_DEPTH: Final = 3

Kind = Literal["string", "number", "integer", "boolean", "array", "object"]
Phase = Literal["pre", "post", "both", "any", "control"]
Spec = Literal["ecommerce", "saas", "email", "parcours"]
Retention = Literal["activity", "transaction", "proof"]
_Text = Annotated[str, Field(min_length=1, max_length=128)]


class CatalogProperty(LanguageModel):
    """What a property holds: a part of JSON Schema. `pii`: it names or describes a person; `sentiment`: what they feel.

    No rule that leads to a request for a review may look at what is marked `sentiment`.
    """

    type: Kind | list[Kind]
    description: Languages = Field(default_factory=dict)
    enum: Annotated[list[Scalar], Field(min_length=1, max_length=64)] | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    max_length: Annotated[int, Field(ge=1)] | None = Field(default=None, alias="maxLength")
    format: Literal["date-time"] | None = None
    items: "CatalogProperty | None" = None
    properties: Annotated[dict[PropertyName, "CatalogProperty"], Field(max_length=64)] = Field(default_factory=dict)
    required: list[PropertyName] = Field(default_factory=list)
    pii: bool = False
    sentiment: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        """The JSON types that it may have."""
        return (self.type,) if isinstance(self.type, str) else tuple(self.type)

    @model_validator(mode="after")
    def _fits_together(self) -> "CatalogProperty":
        types = self.types
        if not types or len(set(types)) != len(types):
            raise ValueError("Name at least one type, each once.")
        for keyword, wanted in _KEYWORDS.items():
            if getattr(self, keyword) not in (None, [], {}) and not set(types) & set(wanted):
                shown = "maxLength" if keyword == "max_length" else keyword
                raise ValueError(f"`{shown}` goes with the type {' or '.join(wanted)}.")
        if self.enum is not None and {"array", "object"} & set(types):
            raise ValueError("`enum` goes with types that are no lists and no objects.")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("`minimum` is greater than `maximum`.")
        _check_required(self.required, self.properties)
        return self

    def as_schema(self, *, optional: bool) -> dict[str, Any]:
        """Its JSON Schema; an `optional` property may also be null."""
        types = [*self.types, "null"] if optional else list(self.types)
        found: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if self.description:
            found["description"] = self.description.get("en") or next(iter(self.description.values()))
        if self.enum is not None:
            found["enum"] = [*self.enum, None] if optional else list(self.enum)
        for keyword, name in (("minimum", "minimum"), ("maximum", "maximum"), ("max_length", "maxLength")):
            if getattr(self, keyword) is not None:
                found[name] = getattr(self, keyword)
        if self.format is not None:
            found["format"] = self.format
        if self.items is not None:
            found["items"] = self.items.as_schema(optional=False)
        if self.properties:
            found |= _object_schema(self.properties, self.required)
        for mark in ("pii", "sentiment"):
            if getattr(self, mark):
                found[mark] = True
        return found

    def marked(self, mark: str, pointer: str) -> Iterator[str]:
        """Pointers of what is marked `pii` or `sentiment`, at and below this one; ``*`` stands for every item."""
        if getattr(self, mark):
            yield pointer
        if self.items is not None:
            yield from self.items.marked(mark, f"{pointer}/*")
        for name, each in self.properties.items():
            yield from each.marked(mark, f"{pointer}/{_escaped(name)}")

    def depth(self) -> int:
        """How many levels it describes; a text is one."""
        below = (*self.properties.values(), *(() if self.items is None else (self.items,)))
        return 1 + max((each.depth() for each in below), default=0)


class CatalogEvent(LanguageModel):
    """One event. `spec` is where its name comes from, `phase` whether it happens before or after a purchase.

    `retention` is the class of its data: `activity` is kept for the journey, `transaction` for the accounts, `proof` to
    show what a customer agreed to.
    """

    spec: Spec = "parcours"
    phase: Phase
    used_for: Annotated[list[_Text], Field(min_length=1, max_length=8)]
    description: Languages
    aliases: Annotated[list[EventName], Field(max_length=32)] = Field(default_factory=list)
    retention: Retention = "activity"
    properties: Annotated[dict[PropertyName, CatalogProperty], Field(max_length=128)] = Field(default_factory=dict)
    required: list[PropertyName] = Field(default_factory=list)
    example: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> "CatalogEvent":
        for language in _LANGUAGES:
            if language not in self.description:
                raise ValueError(f"The description in {language} is missing.")
        _check_required(self.required, self.properties)
        if any(each.depth() > _MAX_DEPTH for each in self.properties.values()):
            raise ValueError("A property may hold a list of objects, and these no further lists or objects.")
        return self


class CatalogFile(LanguageModel):
    """Some events of a catalog, by name. `catalog` names the group that they are shown in."""

    catalog: Identifier
    events: Annotated[dict[EventName, CatalogEvent], Field(min_length=1, max_length=512)]


class LoadedFile(NamedTuple):
    """A catalog file, and the document that tells where in it things stand."""

    document: Document
    file: CatalogFile


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """An event of a catalog: its name, the group of its file, and what the file says of it."""

    name: str
    group: str
    event: CatalogEvent

    def as_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of its properties. More properties than these are welcome."""
        return {"type": "object", **_object_schema(self.event.properties, self.event.required)}

    def marked(self, mark: str) -> tuple[str, ...]:
        """JSON pointers, below `properties`, of what is marked `pii` or `sentiment`."""
        found = self.event.properties.items()
        return tuple(pointer for name, each in found for pointer in each.marked(mark, f"/{_escaped(name)}"))


class Catalog:
    """All entries by name, and the names that stand for others. Without any entry it is empty, and knows nothing."""

    def __init__(self, entries: Mapping[str, CatalogEntry]) -> None:
        """`entries` were checked by `join_files`."""
        self.entries = dict(entries)
        self.aliases = {alias: name for name, entry in self.entries.items() for alias in entry.event.aliases}

    def canonical(self, name: str) -> str:
        """The catalog's name of an event, whatever its sender calls it; a name that stands for no other is its own."""
        return self.aliases.get(name, name)

    def find(self, name: str) -> CatalogEntry | None:
        """The entry of an event, asked by its name or an alias."""
        return self.entries.get(self.canonical(name))

    def digest(self) -> str:
        """SHA-256 (hex) of all that it says."""
        content = hashlib.sha256()
        for name, entry in self.entries.items():
            content.update(f"{name}\x1f{entry.group}\x1f{entry.event.model_dump_json()}\x1e".encode())
        return content.hexdigest()


def read_catalog_file(source: str | bytes, file: str = "catalog") -> LoadedFile:
    """Read and check one catalog file: YAML of at most 256 KiB. Raises `InvalidDefinition` with every problem found."""
    document = parse_yaml(source, file)
    if not isinstance(document.data, dict):
        sentence = "A catalog file is a mapping that begins with `catalog:`."
        raise InvalidDefinition([document.problem((), "not_a_mapping", sentence)])
    try:
        return LoadedFile(document, CatalogFile.model_validate(document.data))
    except ValidationError as error:
        raise InvalidDefinition(explain_errors(document, error)) from None


def join_files(files: Iterable[LoadedFile]) -> Catalog:
    """One catalog of all files. Raises `InvalidDefinition` for a name given twice, or an alias that is one too."""
    loaded = list(files)
    entries: dict[str, CatalogEntry] = {}
    problems: list[Problem] = []
    for document, file in loaded:
        for name, event in file.events.items():
            if name in entries:
                sentence = f"The catalog describes {name} already, in the group {entries[name].group}. Remove one."
                problems.append(document.problem(("events", name), "duplicate_event", sentence, at_key=True))
            entries.setdefault(name, CatalogEntry(name, file.catalog, event))
    taken: dict[str, str] = {}
    for document, file in loaded:
        for name, event in file.events.items():
            problems += [document.problem(*found) for found in _check_names(name, event, entries, taken)]
    if problems:
        raise InvalidDefinition(problems)
    return Catalog(entries)


def _check_names(
    name: str, event: CatalogEvent, entries: Mapping[str, CatalogEntry], taken: dict[str, str]
) -> Iterator[tuple[Path, str, str]]:
    if name.startswith(CONTROL) != (event.phase == "control"):
        sentence = "Names of the phase control begin with `$`, and only they do."
        yield ("events", name), "reserved_event_name", sentence
    for index, alias in enumerate(event.aliases):
        path: Path = ("events", name, "aliases", index)
        if alias.startswith(CONTROL) or name.startswith(CONTROL):
            yield path, "reserved_event_name", "Events that begin with `$` are Parcours' own: they have no aliases."
        elif alias in entries:
            yield path, "alias_is_event", f"{alias} is an event of the catalog itself. Remove the alias, or the event."
        elif alias in taken:
            yield path, "duplicate_alias", f"{alias} stands for {taken[alias]} already. Remove one of the two."
        taken.setdefault(alias, name)


def _check_required(required: list[str], properties: Mapping[str, CatalogProperty]) -> None:
    for name in required:
        if name not in properties:
            raise ValueError(f"`required` names {name}, which is not among the properties.")


def _object_schema(properties: Mapping[str, CatalogProperty], required: list[str]) -> dict[str, Any]:
    described = {name: each.as_schema(optional=name not in required) for name, each in properties.items()}
    found: dict[str, Any] = {"properties": described}
    if required:
        found["required"] = list(required)
    return found


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
