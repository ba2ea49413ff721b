"""The bodies that the stage engine's API answers, and how rows become them. Times are RFC 3339 with milliseconds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from behavior import Definition, Event, UnreadableEvent
from schemas.changes import Because
from schemas.ids import display_id
from schemas.times import format_instant
from tracks.domain.changes import change_of
from tracks.domain.outlook import Outlook
from tracks.domain.rows import ActivityRow, StageRow, TransitionRow

__all__ = [
    "ActivityList",
    "CustomerList",
    "CustomerSummary",
    "CustomerView",
    "EventView",
    "JourneyView",
    "LifecycleList",
]
__all__ += ["LifecycleView", "NextChange", "PlaceView", "StageCounts", "StageView", "TrackCounts", "TrackView"]
__all__ += ["TransitionView", "counts_view", "event_view", "lifecycle_view", "next_view", "segments_of", "stages_of"]
__all__ += ["summary_of", "transition_view"]

_ADA = {"stage": "adoption", "since": "2026-11-03T10:00:00.000Z", "visit": 1, "reason": None}
_ENGAGED = {"stage": "engaged", "since": "2026-11-20T08:15:00.000Z", "visit": 2, "reason": None}


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class PlaceView(_View):
    """Where a customer is on one track: since when, on which visit of that stage, and for which reason."""

    stage: str = Field(examples=["adoption"])
    since: str = Field(examples=["2026-11-03T10:00:00.000Z"])
    visit: int = Field(examples=[1])
    reason: str | None = Field(examples=[None])


class CustomerView(_View):
    """A customer now. `stages` are by lifecycle and track, `segments` by name."""

    id: str = Field(examples=["u-42"])
    identities: tuple[str, ...] = Field(examples=[["user:u-42"]])
    traits: dict[str, Any] = Field(examples=[{"plan": "pro"}])
    stages: dict[str, dict[str, PlaceView]] = Field(examples=[{"default": {"stage": _ADA}}])
    segments: dict[str, PlaceView] = Field(examples=[{"engaged": _ENGAGED}])
    as_of: str = Field(examples=["2026-11-25T12:00:00.000Z"])


class CustomerSummary(_View):
    """A customer in a list."""

    id: str = Field(examples=["u-42"])
    stages: dict[str, dict[str, PlaceView]] = Field(examples=[{"default": {"stage": _ADA}}])


class CustomerList(_View):
    """Customers in order of their ids. `next` is the cursor of the following page, or null on the last."""

    customers: tuple[CustomerSummary, ...]
    next: str | None = Field(examples=["dXNlcjp1LTQy"])
    as_of: str = Field(examples=["2026-11-25T12:00:00.000Z"])


class BecauseView(_View):
    """Why a transition happened: `kind` is event or clock; `message_ids` caused it, `evidence` it rests on."""

    kind: str = Field(examples=["event"])
    message_ids: tuple[str, ...] = Field(examples=[["m-7"]])
    evidence: tuple[str, ...] = Field(examples=[["m-7"]])


class TransitionView(_View):
    """One transition. It stands while `superseded_at` is null; `id` is the same in every replay."""

    id: str = Field(examples=["5f0c6d0e7a1b4c2d9e8f7a6b5c4d3e2f"])
    lifecycle: str = Field(examples=["default"])
    version: int = Field(examples=[1])
    track: str = Field(examples=["stage"])
    ordinal: int = Field(examples=[0])
    step: int = Field(examples=[0])
    revision: int = Field(examples=[1])
    from_: str | None = Field(alias="from", examples=["awareness"])
    to: str = Field(examples=["adoption"])
    transition: str = Field(examples=["purchase"])
    visit: int = Field(examples=[1])
    effective_at: str = Field(examples=["2026-11-03T10:00:00.000Z"])
    recorded_at: str = Field(examples=["2026-11-03T10:00:00.480Z"])
    superseded_at: str | None = Field(examples=[None])
    reason: str | None = Field(examples=[None])
    because: BecauseView


class NextChange(_View):
    """What silence alone will bring next."""

    at: str = Field(examples=["2026-11-10T10:00:00.000Z"])
    lifecycle: str = Field(examples=["default"])
    track: str = Field(examples=["stage"])
    transition: str = Field(examples=["never_starts"])
    to: str = Field(examples=["at_risk"])


class JourneyView(_View):
    """The transitions of a customer in order of time. `next`: the earliest change if nothing happens, or null."""

    transitions: tuple[TransitionView, ...]
    next: NextChange | None


class EventView(_View):
    """One event of a customer. `properties` are the traits for `$identify`; `flags` are marks of the door."""

    message_id: str = Field(examples=["m-7"])
    name: str = Field(examples=["Order Completed"])
    occurred_at: str = Field(examples=["2026-11-03T10:00:00.000Z"])
    received_at: str = Field(examples=["2026-11-03T10:00:00.210Z"])
    source: str = Field(examples=["/sources/default"])
    sequence: int | None = Field(default=None, examples=[None])
    properties: dict[str, Any] = Field(examples=[{"revenue": 42}])
    flags: tuple[str, ...] = Field(default=(), examples=[[]])


class ActivityList(_View):
    """Events of a customer, latest first. `next` is the cursor of the following page, or null on the last."""

    events: tuple[EventView, ...]
    next: str | None = Field(examples=[None])


class StageView(_View):
    """A stage of a track. `kind` is pre, post, risk or lost; `label` has one text per language."""

    stage: str = Field(examples=["adoption"])
    kind: str | None = Field(examples=["post"])
    label: dict[str, str] = Field(examples=[{"en": "Adoption", "fr": "Adoption"}])


class TrackView(_View):
    """A track with its stages in the definition's order."""

    track: str = Field(examples=["stage"])
    primary: bool = Field(examples=[True])
    initial: str = Field(examples=["awareness"])
    stages: tuple[StageView, ...]


class LifecycleView(_View):
    """An active lifecycle. `definition` is the whole file as JSON, durations in milliseconds."""

    name: str = Field(examples=["default"])
    version: int = Field(examples=[1])
    hash: str = Field(examples=["9d5ed678fe57bcca610140957afab571"])
    subject: str = Field(examples=["user"])
    tracks: tuple[TrackView, ...]
    definition: dict[str, Any] | None = None


class LifecycleList(_View):
    """The active lifecycles, without their definitions."""

    lifecycles: tuple[LifecycleView, ...]


class StageCount(StageView):
    """A stage and how many customers are in it."""

    count: int = Field(examples=[12])


class TrackCounts(_View):
    """A track: its stages with their counts, and the sum."""

    track: str = Field(examples=["stage"])
    primary: bool = Field(examples=[True])
    total: int = Field(examples=[300])
    stages: tuple[StageCount, ...]


class StageCounts(_View):
    """How many customers are in each stage of a lifecycle, under which version, and when that was counted."""

    lifecycle: str = Field(examples=["default"])
    version: int = Field(examples=[1])
    as_of: str = Field(examples=["2026-11-25T12:00:00.000Z"])
    tracks: tuple[TrackCounts, ...]


def _place(row: StageRow) -> PlaceView:
    return PlaceView(stage=row.stage, since=format_instant(row.since), visit=row.visit, reason=row.reason)


def stages_of(rows: Iterable[StageRow]) -> dict[str, dict[str, PlaceView]]:
    """Present stages by lifecycle and track."""
    found: dict[str, dict[str, PlaceView]] = {}
    for row in rows:
        found.setdefault(row.lifecycle, {})[row.track] = _place(row)
    return found


def segments_of(rows: Iterable[StageRow]) -> dict[str, PlaceView]:
    """Present segments by name."""
    return {row.track: _place(row) for row in rows}


def summary_of(subject: str, rows: Iterable[StageRow]) -> CustomerSummary:
    """A customer in a list."""
    return CustomerSummary(id=display_id(subject), stages=stages_of(rows))


def transition_view(row: TransitionRow) -> TransitionView:
    """A stored transition."""
    change = change_of(row)
    because: Because = change.because
    return TransitionView.model_validate(
        {
            "id": row.id,
            "lifecycle": row.lifecycle,
            "version": row.version,
            "track": row.track,
            "ordinal": row.ordinal,
            "step": row.step,
            "revision": row.revision,
            "from": row.from_stage,
            "to": row.to_stage,
            "transition": row.transition,
            "visit": row.visit,
            "effective_at": change.effective_at,
            "recorded_at": change.recorded_at,
            "superseded_at": None if row.superseded_at is None else format_instant(row.superseded_at),
            "reason": row.reason,
            "because": BecauseView(kind=because.kind, message_ids=because.message_ids, evidence=because.evidence),
        }
    )


def next_view(outlooks: Mapping[str, Outlook]) -> NextChange | None:
    """The earliest of what silence brings, over all lifecycles."""
    if not outlooks:
        return None
    lifecycle, outlook = min(outlooks.items(), key=lambda item: (item[1].at, item[0]))
    return NextChange(
        at=format_instant(outlook.at),
        lifecycle=lifecycle,
        track=outlook.track,
        transition=outlook.transition,
        to=outlook.to,
    )


def event_view(row: ActivityRow) -> EventView:
    """A stored event; one whose body cannot be read any more has no properties."""
    try:
        properties = dict(Event(row.occurred_at, row.message_id, row.name, raw=row.body).content())
    except UnreadableEvent:
        properties = {}
    return EventView(
        message_id=row.message_id,
        name=row.name,
        occurred_at=format_instant(row.occurred_at),
        received_at=format_instant(row.received_at),
        source=row.source,
        sequence=row.sequence,
        properties=properties,
        flags=tuple(row.flags.split(",")) if row.flags else (),
    )


def lifecycle_view(definition: Definition, *, whole: bool) -> LifecycleView:
    """An active lifecycle; `whole` adds its definition."""
    return LifecycleView(
        name=definition.name,
        version=definition.version,
        hash=definition.hash,
        subject=definition.subject,
        tracks=tuple(
            TrackView(
                track=track.name,
                primary=track.name == definition.primary.name,
                initial=track.initial,
                stages=tuple(
                    StageView(stage=stage.name, kind=stage.kind, label=stage.label) for stage in track.stages.values()
                ),
            )
            for track in definition.tracks
        ),
        definition=definition.file.model_dump(mode="json", by_alias=True, exclude_defaults=True) if whole else None,
    )


def counts_view(definition: Definition, counts: Mapping[tuple[str, str], int], as_of: int) -> StageCounts:
    """The counts of a lifecycle by (track, stage); `as_of` in ms."""
    tracks = []
    for track in definition.tracks:
        stages: Sequence[StageCount] = [
            StageCount(
                stage=stage.name, kind=stage.kind, label=stage.label, count=counts.get((track.name, stage.name), 0)
            )
            for stage in track.stages.values()
        ]
        tracks.append(
            TrackCounts(
                track=track.name,
                primary=track.name == definition.primary.name,
                total=sum(stage.count for stage in stages),
                stages=tuple(stages),
            )
        )
    return StageCounts(
        lifecycle=definition.name, version=definition.version, as_of=format_instant(as_of), tracks=tuple(tracks)
    )
