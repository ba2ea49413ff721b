"""From facts to what templates print. Pure: nothing here reads a store or a clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from schemas.times import DAY
from services.web.catalog import Catalog, StageName, TrackName, customer_href, plain, stage_href
from services.web.facts import ActivityFact, ChangeFact, MemberFact, MessageFact, Place, StageCount
from services.web.moments import Moment, Moments

__all__ = ["Bar", "ChangeView", "Day", "Entry", "Link", "MemberView", "MessageView", "Panel", "PlaceView"]
__all__ += ["change_view", "days", "grouped", "member_view", "message_view", "panels", "place_view", "worded"]

_OUTCOMES: Final = {"sent": "post", "delivered": "post", "failed": "lost", "bounced": "lost", "unknown": "risk"}
_CALLS: Final = {"$identify": "Told who they are", "$group": "Joined an account", "$alias": "Took another id"}
_SHOWN_PROPERTIES: Final = 4
_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Link:
    """A name that leads somewhere."""

    name: str
    href: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One stage of a panel: `width` is its length in percent of the longest, `share` its part of all customers."""

    label: str
    kind: str
    count: str
    share: str
    width: float
    href: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One track with all its stages in the definition's order."""

    title: str
    note: str
    total: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A transition as one line."""

    customer: Link
    source: StageName | None
    target: StageName
    why: str
    reason: str
    at: Moment


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message as one line, with its text to unfold. `kind` colors the outcome."""

    customer: Link
    title: str
    campaign: str
    outcome: str
    kind: str
    reason: str
    text: str
    at: Moment


@dataclass(frozen=True, slots=True)
class MemberView:
    """A customer in a list."""

    customer: Link
    stage: StageName
    since: Moment
    visit: int
    reason: str


@dataclass(frozen=True, slots=True)
class PlaceView:
    """Where a customer is on one track."""

    track: str
    stage: StageName
    href: str
    since: Moment
    visit: int
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline: a change, or an event with the most telling of its properties."""

    at: Moment
    change: ChangeView | None = None
    name: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """The entries of one day, latest first."""

    title: str
    entries: tuple[Entry, ...]


def grouped(number: int) -> str:
    """A number with its thousands apart: ``12 345`` with a narrow space."""
    return f"{number:,}".replace(",", "\u202f")


def worded(value: Any) -> str:
    """A value of a property or trait as short text."""
    if isinstance(value, Mapping):
        text = f"{len(value)} fields"
    elif isinstance(value, (list, tuple)):
        text = f"{len(value)} items"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif value is None:
        text = "–"
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def panels(catalog: Catalog, counts: Iterable[StageCount]) -> list[Panel]:
    """One panel per track, the first lifecycle's primary track first; every stage has a bar, also an empty one."""
    found = {item.place: item.customers for item in counts}
    tracks = sorted(catalog.tracks, key=lambda track: not track.primary)
    return [_panel(track, found) for track in tracks]


def _panel(track: TrackName, counts: Mapping[Place, int]) -> Panel:
    numbers = [counts.get(Place(track.lifecycle, track.track, stage.id), 0) for stage in track.stages]
    total, longest = sum(numbers), max(numbers, default=0)
    bars = tuple(
        Bar(
            stage.label,
            stage.kind or "pre",
            grouped(number),
            f"{100 * number / total:.0f} %" if total else "",
            max(0.8, round(100 * number / longest, 1)) if number else 0.0,
            stage_href(track.lifecycle, track.track, stage.id),
        )
        for stage, number in zip(track.stages, numbers, strict=True)
    )
    return Panel(track.title, f"lifecycle {track.lifecycle}, version {track.version}", total, bars)


def change_view(catalog: Catalog, moments: Moments, fact: ChangeFact, *, clock: bool = False) -> ChangeView:
    """A change; with `clock` its time of day, for lists that are grouped by day."""
    return ChangeView(
        Link(fact.customer, customer_href(fact.customer)),
        None if fact.source is None else catalog.stage(fact.lifecycle, fact.track, fact.source),
        catalog.stage(fact.lifecycle, fact.track, fact.target),
        catalog.why(fact.lifecycle, fact.transition),
        plain(fact.reason or ""),
        (moments.clock if clock else moments.ago)(fact.effective_at),
    )


def message_view(moments: Moments, fact: MessageFact) -> MessageView:
    """A message, or the decision not to send one, with its reason."""
    return MessageView(
        Link(fact.customer, customer_href(fact.customer)),
        fact.subject or plain(fact.campaign).capitalize(),
        plain(fact.campaign),
        plain(fact.outcome),
        _OUTCOMES.get(fact.outcome, ""),
        plain(fact.reason or ""),
        fact.text or "",
        moments.ago(fact.at),
    )


def member_view(catalog: Catalog, moments: Moments, fact: MemberFact) -> MemberView:
    """A customer in a list."""
    return MemberView(
        Link(fact.customer, customer_href(fact.customer)),
        catalog.stage(*fact.place),
        moments.ago(fact.since),
        fact.visit,
        plain(fact.reason or ""),
    )


def place_view(catalog: Catalog, moments: Moments, fact: MemberFact) -> PlaceView:
    """Where a customer is on one track."""
    track = catalog.track(fact.place.lifecycle, fact.place.track)
    return PlaceView(
        track.title if track else plain(fact.place.track).capitalize(),
        catalog.stage(*fact.place),
        stage_href(*fact.place),
        moments.ago(fact.since),
        fact.visit,
        plain(fact.reason or ""),
    )


def _detail(properties: Mapping[str, Any]) -> str:
    shown = [f"{plain(name)} {worded(value)}" for name, value in properties.items() if value not in (None, "", {}, [])]
    rest = len(shown) - _SHOWN_PROPERTIES
    return ", ".join(shown[:_SHOWN_PROPERTIES]) + (f" and {rest} more" if rest > 0 else "")


def days(
    catalog: Catalog, moments: Moments, changes: Sequence[ChangeFact], activity: Sequence[ActivityFact]
) -> list[Day]:
    """Events and changes interleaved, latest first and grouped by day; a change stands above the event it follows."""
    lines: list[tuple[int, int, int, Entry]] = []
    for index, event in enumerate(activity):
        name = _CALLS.get(event.name, event.name)
        entry = Entry(moments.clock(event.occurred_at), name=name, detail=_detail(event.properties))
        lines.append((event.occurred_at, 0, index, entry))
    for change in changes:
        view = change_view(catalog, moments, change, clock=True)
        lines.append((change.effective_at, 1, change.step, Entry(view.at, change=view)))
    lines.sort(key=lambda line: line[:3], reverse=True)
    return [
        Day(moments.day(number * DAY), tuple(line[3] for line in group))
        for number, group in groupby(lines, key=lambda line: line[0] // DAY)
    ]
