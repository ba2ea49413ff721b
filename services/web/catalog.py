"""What the active definitions say for people: labels and kinds of stages, and why transitions happen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from schemas.language import DefinitionFile

__all__ = ["KINDS", "Catalog", "StageName", "TrackName", "customer_href", "plain", "stage_href"]

KINDS: Final = {"pre": "not yet a customer", "post": "customer", "risk": "at risk", "lost": "lost"}
"""What the colors mean."""


def plain(identifier: str) -> str:
    """An identifier as words: ``never_set_up`` reads "never set up"."""
    return identifier.replace("_", " ")


def stage_href(lifecycle: str, track: str, stage: str) -> str:
    """The address of the page that lists the customers in a stage."""
    return "/stages/" + "/".join(quote(part, safe="") for part in (lifecycle, track, stage))


def customer_href(identifier: str) -> str:
    """The address of a customer's page."""
    return "/customers/" + quote(identifier, safe="")


@dataclass(frozen=True, slots=True)
class StageName:
    """A stage for people. `kind` is one of `KINDS`, or empty."""

    id: str
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class TrackName:
    """A track for people, with its stages in the definition's order."""

    lifecycle: str
    version: int
    track: str
    title: str
    primary: bool
    stages: tuple[StageName, ...]


def _label(languages: dict[str, str], identifier: str) -> str:
    found = languages.get("en") or next(iter(languages.values()), "")
    return found or plain(identifier).capitalize()


def _tracks(definitions: Iterable[DefinitionFile]) -> list[TrackName]:
    return [
        TrackName(
            definition.lifecycle,
            definition.version,
            name,
            plain(name).capitalize(),
            track.primary,
            tuple(StageName(key, _label(stage.label, key), stage.kind or "") for key, stage in track.stages.items()),
        )
        for definition in definitions
        for name, track in definition.tracks.items()
    ]


class Catalog:
    """Names of everything that a set of definitions holds; unknown ids (older versions) read as plain words."""

    def __init__(self, lifecycles: Iterable[DefinitionFile], segments: Iterable[DefinitionFile] = ()) -> None:
        """In the order in which they are to be shown; `tracks` are those of the lifecycles."""
        lifecycles, segments = list(lifecycles), list(segments)
        self.tracks = _tracks(lifecycles)
        everywhere = [*self.tracks, *_tracks(segments)]
        self._why = {
            (definition.lifecycle, transition.id): transition.why.get("en", "")
            for definition in (*lifecycles, *segments)
            for track in definition.tracks.values()
            for transition in track.transitions
        }
        self._stages = {
            (track.lifecycle, track.track, stage.id): stage for track in everywhere for stage in track.stages
        }
        self._tracks = {(track.lifecycle, track.track): track for track in everywhere}

    @property
    def primary(self) -> TrackName | None:
        """The first primary track: the one that the front page is about."""
        return next((track for track in self.tracks if track.primary), None)

    def track(self, lifecycle: str, track: str) -> TrackName | None:
        """A track by its ids, or None."""
        return self._tracks.get((lifecycle, track))

    def known(self, lifecycle: str, track: str, stage: str) -> bool:
        """Whether the active definitions have that stage."""
        return (lifecycle, track, stage) in self._stages

    def stage(self, lifecycle: str, track: str, stage: str) -> StageName:
        """A stage by its ids; one that no active definition has gets its id as label."""
        return self._stages.get((lifecycle, track, stage)) or StageName(stage, plain(stage).capitalize(), "")

    def why(self, lifecycle: str, transition: str) -> str:
        """Why a transition happens, as its author wrote it; else its id as words."""
        if transition == "initial":
            return "First event"
        return self._why.get((lifecycle, transition)) or plain(transition).capitalize()
