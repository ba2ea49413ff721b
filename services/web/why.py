"""Why a customer is where they are, and what leads on, in sentences. Pure."""

from dataclasses import dataclass

from services.web.catalog import Catalog, StageName, plain
from services.web.facts import CheckFact, ExplanationFact, WayFact
from services.web.moments import Moment, Moments

__all__ = ["CheckView", "Evidence", "WayView", "WhyView", "why_view"]


_EVENT = "the event"  # what `behavior.explain` says is needed where an event itself is: no measure to show


@dataclass(frozen=True, slots=True)
class Evidence:
    """An event that a stage rests on; `at` is None when it is no longer known."""

    text: str
    at: Moment | None


@dataclass(frozen=True, slots=True)
class CheckView:
    """One condition as a line; `alternative`: it and those after it are another way to the same end ("or")."""

    text: str
    holds: bool
    progress: str
    alternative: bool


@dataclass(frozen=True, slots=True)
class WayView:
    """A way out: `outlook` says what it waits for; `until` and `condition` complete the sentence when time decides."""

    target: StageName
    why: str
    outlook: str
    until: Moment | None
    condition: str
    checks: tuple[CheckView, ...]


@dataclass(frozen=True, slots=True)
class WhyView:
    """The explanation of one track."""

    track: str
    stage: StageName
    sentence: str
    evidence: tuple[Evidence, ...]
    ways: tuple[WayView, ...]


def _alternative(check: CheckFact, index: int) -> str:
    """Which of the alternatives a condition belongs to; empty when it is needed in any case."""
    parts = check.group.split("/")
    if "any" not in parts:
        return ""
    at = parts.index("any")
    return "/".join(parts[: at + 2]) if at + 1 < len(parts) else f"{check.group}/{index}"


def _checks(facts: tuple[CheckFact, ...]) -> tuple[CheckView, ...]:
    views: list[CheckView] = []
    before = ""
    for index, fact in enumerate(facts):
        here = _alternative(fact, index)
        progress = f"now {fact.present}, needed {fact.needed}" if fact.present and fact.needed != _EVENT else ""
        views.append(CheckView(fact.text, fact.holds, progress, bool(before and here and here != before)))
        before = here
    return tuple(views)


def _way(catalog: Catalog, moments: Moments, fact: ExplanationFact, way: WayFact) -> WayView:
    until: Moment | None = None
    condition = ""
    if way.by_event:
        outlook = "Needs this event:" if len(way.checks) == 1 else "Needs this event, and the rest to be met:"
    elif way.turns_true_at is not None:
        outlook, until, condition = "Turns true on", moments.on(way.turns_true_at), " if nothing happens."
    else:
        outlook = "Met now." if way.holds else "Not met; time alone will not change that."
    lifecycle, track, _ = fact.place
    return WayView(
        catalog.stage(lifecycle, track, way.target),
        catalog.why(lifecycle, way.transition),
        outlook,
        until,
        condition,
        _checks(way.checks),
    )


def _order(way: WayFact) -> tuple[bool, int, bool]:
    """What happens by itself comes first, the earliest before the others; what needs one certain event comes last."""
    return way.turns_true_at is None, way.turns_true_at or 0, way.by_event


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
        tuple(_way(catalog, moments, fact, way) for way in sorted(fact.ways, key=_order)),
    )


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
