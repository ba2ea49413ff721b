"""Which events the stages of a lifecycle wait for, and which of them come. Pure: no store and no clock is read here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from behavior import Definition
from behavior.definition import CompiledTrack, Rule
from schemas.catalog import Catalog
from schemas.language_types import FACT_PREFIX
from schemas.times import DAY, format_instant
from services.storage.seen import SeenName

__all__ = ["SILENT_AFTER", "CoverageView", "coverage_of"]

SILENT_AFTER: Final = 14 * DAY
"""An event that did not come for so long (ms) is silent."""

_MOST_UNPLANNED: Final = 100


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExpectedEvent(_View):
    """An event that a stage waits for: what it leads to, and how it came so far, under whatever name."""

    name: str = Field(examples=["Checkout Started"])
    in_catalog: bool = Field(description="Whether the catalog describes it")
    transitions: tuple[str, ...] = Field(
        description="The transitions that ask for it, into the stage or out of it", examples=[["intent"]]
    )
    last_seen: str | None = Field(examples=["2026-11-03T10:00:00.000Z"])
    count: int = Field(examples=[1204])
    flagged: int = Field(description="How many of them were not as the catalog describes them", examples=[3])
    sent_as: tuple[str, ...] = Field(description="The names that senders use for it", examples=[["begin_checkout"]])
    silent: bool = Field(description="It never came, or not for 14 days")


class StageCoverage(_View):
    """One stage, and the events that bring customers in or out. Without any it changes by time alone."""

    stage: str = Field(examples=["decision"])
    events: tuple[ExpectedEvent, ...]


class TrackCoverage(_View):
    """One track, its stages in the definition's order."""

    track: str = Field(examples=["stage"])
    stages: tuple[StageCoverage, ...]


class LifecycleCoverage(_View):
    """One lifecycle; `silent` lists what it waits for and does not get."""

    lifecycle: str = Field(examples=["default"])
    version: int = Field(examples=[1])
    silent: tuple[str, ...] = Field(examples=[["Demo Requested"]])
    tracks: tuple[TrackCoverage, ...]


class UnplannedEvent(_View):
    """An event that comes and that the catalog does not know. `$other` stands for all beyond the 2,000th name."""

    name: str = Field(examples=["Lamp Lit"])
    source: str = Field(examples=["default"])
    last_seen: str = Field(examples=["2026-11-03T10:00:00.000Z"])
    count: int = Field(examples=[17])


class CoverageView(_View):
    """What the lifecycles wait for and what comes. Counts are a few seconds old."""

    lifecycles: tuple[LifecycleCoverage, ...]
    unplanned: tuple[UnplannedEvent, ...] = Field(description="The most frequent 100")
    as_of: str = Field(examples=["2026-11-03T10:00:00.000Z"])


@dataclass(slots=True)
class _Tally:
    last: int | None = None
    events: int = 0
    flagged: int = 0
    sent_as: tuple[str, ...] = ()

    def add(self, seen: SeenName) -> None:
        self.last = seen.last_seen if self.last is None else max(self.last, seen.last_seen)
        self.events += seen.events
        self.flagged += seen.flagged
        self.sent_as = tuple(sorted({*self.sent_as, seen.name}))


class _Coverage:
    def __init__(self, catalog: Catalog, seen: Iterable[SeenName], now: int) -> None:
        self.catalog = catalog
        self.now = now
        self.tallies: dict[str, _Tally] = {}
        for each in seen:
            self.tallies.setdefault(catalog.canonical(each.name), _Tally()).add(each)

    def lifecycle(self, definition: Definition) -> LifecycleCoverage:
        tracks = tuple(self._track(track) for track in definition.tracks)
        silent = {event.name for track in tracks for stage in track.stages for event in stage.events if event.silent}
        return LifecycleCoverage(
            lifecycle=definition.name, version=definition.version, silent=tuple(sorted(silent)), tracks=tracks
        )

    def _track(self, track: CompiledTrack) -> TrackCoverage:
        rules = {rule.id: rule for each in track.rules.values() for rule in each}
        stages = []
        for stage in track.stages:
            leaving = {rule.id for rule in track.rules[stage]}
            concerned = [
                rule for rule in rules.values() if rule.id in leaving or stage in (rule.default, *rule.history)
            ]
            stages.append(StageCoverage(stage=stage, events=self._events(concerned)))
        return TrackCoverage(track=track.name, stages=tuple(stages))

    def _events(self, rules: Iterable[Rule]) -> tuple[ExpectedEvent, ...]:
        wanted: dict[str, list[str]] = {}
        for rule in rules:
            names = {self.catalog.canonical(name) for name in rule.event_names | rule.names}
            for name in sorted(names):
                if not name.startswith(FACT_PREFIX):
                    wanted.setdefault(name, []).append(rule.id)
        return tuple(self._event(name, transitions) for name, transitions in sorted(wanted.items()))

    def _event(self, name: str, transitions: Sequence[str]) -> ExpectedEvent:
        tally = self.tallies.get(name, _Tally())
        return ExpectedEvent(
            name=name,
            in_catalog=name in self.catalog.entries,
            transitions=tuple(transitions),
            last_seen=None if tally.last is None else format_instant(tally.last),
            count=tally.events,
            flagged=tally.flagged,
            sent_as=tally.sent_as,
            silent=tally.last is None or self.now - tally.last > SILENT_AFTER,
        )


def coverage_of(
    definitions: Iterable[Definition], catalog: Catalog, seen: Sequence[SeenName], now: int
) -> CoverageView:
    """What the lifecycles `definitions` wait for, and what of it came; `now` in ms."""
    coverage = _Coverage(catalog, seen, now)
    strange = sorted(
        (each for each in seen if catalog.find(each.name) is None), key=lambda each: (-each.events, each.name)
    )
    return CoverageView(
        lifecycles=tuple(coverage.lifecycle(definition) for definition in definitions),
        unplanned=tuple(
            UnplannedEvent(
                name=each.name, source=each.source, last_seen=format_instant(each.last_seen), count=each.events
            )
            for each in strange[:_MOST_UNPLANNED]
        ),
        as_of=format_instant(now),
    )
