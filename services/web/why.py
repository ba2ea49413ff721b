"""Why a customer is where they are, and what leads on, in sentences. Pure."""

from dataclasses import dataclass

from services.web.catalog import Catalog, StageName, plain
from services.web.facts import CheckFact, ExplanationFact, WayFact
from services.web.moments import Moment, Moments

__all__ = ["Evidence", "WayView", "WhyView", "why_view"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """An event that a stage rests on; `at` is None when it is no longer known."""

    text: str
    at: Moment | None


@dataclass(frozen=True, slots=True)
class WayView:
    """A way out: `outlook` says what it waits for; `until` and `condition` complete the sentence when time decides."""

    target: StageName
    why: str
    outlook: str
    until: Moment | None
    condition: str
    checks: tuple[CheckFact, ...]


@dataclass(frozen=True, slots=True)
class WhyView:
    """The explanation of one track."""

    track: str
    stage: StageName
    sentence: str
    evidence: tuple[Evidence, ...]
    ways: tuple[WayView, ...]


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _way(catalog: Catalog, moments: Moments, fact: ExplanationFact, way: WayFact) -> WayView:
    until: Moment | None = None
    condition = ""
    if way.events:
        outlook = f"Happens with {_listed(way.events)}" + (", if all below is met." if way.checks else ".")
    elif way.turns_true_at is not None:
        outlook, until, condition = "Turns true on", moments.on(way.turns_true_at), " if nothing happens."
    elif way.changes_at is not None:
        outlook, until = "Not met now. The passing of time alone can matter from", moments.on(way.changes_at)
        condition = "."
    else:
        outlook = "Met now." if way.holds else "Not met now, and time alone will not change that."
    lifecycle, track, _ = fact.place
    return WayView(
        catalog.stage(lifecycle, track, way.target),
        catalog.why(lifecycle, way.transition),
        outlook,
        until,
        condition,
        way.checks,
    )


def why_view(catalog: Catalog, moments: Moments, fact: ExplanationFact) -> WhyView:
    """The explanation of one track: what led into the stage, and each way out of it."""
    lifecycle, track_id, _ = fact.place
    track = catalog.track(lifecycle, track_id)
    since = moments.on(fact.since)
    sentence = f"{catalog.why(lifecycle, fact.transition)}: here since {since.text}"
    sentence += f", for the {_ordinal(fact.visit)} time" if fact.visit > 1 else ""
    sentence += f". The reason on record is “{plain(fact.reason)}”." if fact.reason else "."
    if fact.by_clock:
        sentence += " No event caused this; the time that passed did."
    evidence = tuple(
        Evidence(item.name, None if item.occurred_at is None else moments.on(item.occurred_at))
        for item in fact.evidence
    )
    return WhyView(
        track.title if track else plain(track_id).capitalize(),
        catalog.stage(*fact.place),
        sentence,
        evidence,
        tuple(_way(catalog, moments, fact, way) for way in fact.ways),
    )


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
