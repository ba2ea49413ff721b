"""Models of a lifecycle or segments file."""

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas.language_predicates import Condition
from schemas.language_types import (
    DurationMs,
    EventName,
    EventNames,
    Identifier,
    LanguageModel,
    Languages,
    Number,
    Where,
    names_or_one,
)
from schemas.language_yaml import Path

__all__ = [
    "ACTIONS",
    "EVERY_STAGE",
    "Action",
    "DefinitionFile",
    "HistoryTarget",
    "Reason",
    "Score",
    "Stage",
    "Track",
    "Transition",
]

ACTIONS = ("notify", "task", "milestone", "reward", "review_request")
EVERY_STAGE = "*"
_Names = Annotated[tuple[str, ...], BeforeValidator(names_or_one)]


class Score(LanguageModel):
    """A sum of weights that halves with every `half_life`, shown between 0 and `cap`."""

    half_life: DurationMs
    cap: Annotated[Number, Field(gt=0)]
    weights: Annotated[dict[EventName, Number], Field(min_length=1, max_length=256)]


class Action(LanguageModel):
    """What entering a stage asks for. Exactly one key is given."""

    notify: Identifier | None = None
    task: Identifier | None = None
    milestone: Identifier | None = None
    reward: Identifier | None = None
    review_request: Identifier | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Action":
        if len(self.as_declared()) != 1:
            raise ValueError(f"An action has exactly one of {', '.join(ACTIONS)}.")
        return self

    def as_declared(self) -> dict[str, Any]:
        """The action as it stands in the file, for example ``{"notify": "welcome"}``."""
        return {name: getattr(self, name) for name in ACTIONS if getattr(self, name) is not None}


class Reason(LanguageModel):
    """Why somebody is in a stage: the label of the first reason whose condition holds at entry."""

    label: Identifier
    when: Condition


class Stage(LanguageModel):
    """One stage of a track. `kind` colors it: before or after a purchase, at risk, lost. `final`: nobody leaves."""

    kind: Literal["pre", "post", "risk", "lost"] | None = None
    label: Languages = Field(default_factory=dict)
    reason: list[Reason] = Field(default_factory=list)
    on_enter: list[Action] = Field(default_factory=list)
    final: bool = False


class HistoryTarget(LanguageModel):
    """The most recently left stage among those listed, else the default."""

    history: _Names
    default: Identifier


def _sources(value: Any) -> tuple[str, ...]:
    return (EVERY_STAGE,) if value == EVERY_STAGE else names_or_one(value)


def _target(value: Any) -> Any:
    return value if isinstance(value, dict) else {"history": [value], "default": value}


class Transition(LanguageModel):
    """A way from stages to a stage: on an `event`, `when` a condition holds, `after` a time in the stage."""

    id: Identifier
    from_: Annotated[tuple[str, ...], BeforeValidator(_sources)] = Field(alias="from")
    to: Annotated[HistoryTarget, BeforeValidator(_target)]
    event: EventNames | None = None
    where: Where = Field(default_factory=dict)
    when: Condition | None = None
    after: DurationMs | None = None
    why: Languages = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_a_cause(self) -> "Transition":
        if self.event is None and self.when is None and self.after is None:
            raise ValueError("A transition needs at least one of `event`, `when`, `after`.")
        if self.where and self.event is None:
            raise ValueError("`where` goes with `event`.")
        if self.id == "initial":
            raise ValueError("`initial` is the name of everybody's first transition. Choose another id.")
        return self


class Track(LanguageModel):
    """Exclusive stages and the transitions between them; their order in the list is their priority."""

    primary: bool = False
    initial: Identifier
    stages: Annotated[dict[Identifier, Stage], Field(min_length=1, max_length=64)]
    transitions: Annotated[list[Transition], Field(max_length=256)] = Field(default_factory=list)

    def conditions(self) -> Iterator[tuple[Path, Condition]]:
        """Every condition of the track with its path below the track, reasons first."""
        for name, stage in self.stages.items():
            for index, reason in enumerate(stage.reason):
                yield from _walk(("stages", name, "reason", index, "when"), reason.when)
        for index, transition in enumerate(self.transitions):
            if transition.when is not None:
                yield from _walk(("transitions", index, "when"), transition.when)


def _walk(path: Path, condition: Condition) -> Iterator[tuple[Path, Condition]]:
    yield path, condition
    for index, part in enumerate(condition.parts()):
        yield from _walk((*path, "not") if condition.kind == "not" else (*path, condition.kind, index), part)


class DefinitionFile(LanguageModel):
    """A lifecycle, or a file of segments: the same grammar. `zone` is the calendar of `active_days`."""

    lifecycle: Identifier
    version: Annotated[int, Field(ge=1, le=1_000_000_000)]
    subject: Literal["user", "account"]
    zone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    event_groups: dict[Identifier, EventNames] = Field(default_factory=dict)
    scores: dict[Identifier, Score] = Field(default_factory=dict)
    tracks: Annotated[dict[Identifier, Track], Field(min_length=1, max_length=32)]

    def content_hash(self) -> str:
        """SHA-256 (hex) of the content: comments, spacing and quoting do not count; the order of the file does."""
        return hashlib.sha256(self.model_dump_json(by_alias=True, exclude_defaults=True).encode()).hexdigest()

    def names_of(self, events: tuple[str, ...]) -> tuple[str, ...]:
        """The event names meant by a list of names and ``@groups``, each once, in order. Groups must exist."""
        names: dict[str, None] = {}
        for event in events:
            names.update(dict.fromkeys(self.event_groups[event[1:]] if event.startswith("@") else (event,)))
        return tuple(names)
