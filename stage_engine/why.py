"""The body of an explanation: what led to a stage, and what each way on still needs."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from behavior import Checked, Definition, Outgoing, TrackExplanation
from schemas.times import format_instant
from tracks.domain.rows import ActivityRow, TransitionRow
from tracks.reads import Explained

__all__ = ["ExplanationView", "explanation_view"]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class EvidenceView(_View):
    """An event that something rests on."""

    message_id: str = Field(examples=["m-7"])
    name: str | None = Field(examples=["Order Completed"])
    occurred_at: str | None = Field(examples=["2026-11-03T10:00:00.000Z"])


class EnteredView(_View):
    """The transition that led into the stage, under which version of the definition, and what it rests on."""

    transition: str = Field(examples=["purchase"])
    why: dict[str, str] = Field(examples=[{"en": "First purchase or subscription"}])
    version: int | None = Field(examples=[1])
    cause: str = Field(examples=["event"], description="event or clock")
    evidence: tuple[EvidenceView, ...]


class CheckView(_View):
    """One condition of a transition in words. `group` says how it is joined with its neighbors: all, any, any/2/all."""

    text: str = Field(examples=["no `Signed In` for 7 days"])
    holds: bool = Field(examples=[False])
    present: str = Field(examples=["2 days"])
    needed: str = Field(examples=["7 days"])
    until: str | None = Field(examples=["2026-11-10T10:00:00.000Z"])
    group: str = Field(examples=["all"])
    evidence: tuple[EvidenceView, ...] = ()


class WayView(_View):
    """A transition out of the stage. `until` is when `holds` changes if nothing happens, or null: it does not."""

    id: str = Field(examples=["never_starts"])
    to: str = Field(examples=["at_risk"])
    to_label: dict[str, str] = Field(examples=[{"en": "At risk", "fr": "À risque"}])
    why: dict[str, str] = Field(examples=[{"en": "Bought but did not use it for 7 days"}])
    kind: str = Field(examples=["when"], description="event, when or after")
    holds: bool = Field(examples=[False])
    until: str | None = Field(examples=["2026-11-10T10:00:00.000Z"])
    checklist: tuple[CheckView, ...]


class TrackWhyView(_View):
    """Why a customer is where they are on one track. `conflict` names two rules that undo each other."""

    track: str = Field(examples=["stage"])
    stage: str = Field(examples=["adoption"])
    label: dict[str, str] = Field(examples=[{"en": "Adoption", "fr": "Adoption"}])
    kind: str | None = Field(examples=["post"])
    since: str = Field(examples=["2026-11-03T10:00:00.000Z"])
    visit: int = Field(examples=[1])
    reason: str | None = Field(examples=[None])
    entered_by: EnteredView
    transitions: tuple[WayView, ...]
    conflict: tuple[str, str] | None = None


class LifecycleWhyView(_View):
    """All tracks of one lifecycle."""

    lifecycle: str = Field(examples=["default"])
    version: int = Field(examples=[1])
    tracks: tuple[TrackWhyView, ...]


class ExplanationView(_View):
    """Why a customer is where they are, and what leads on."""

    id: str = Field(examples=["u-42"])
    as_of: str = Field(examples=["2026-11-25T12:00:00.000Z"])
    lifecycles: tuple[LifecycleWhyView, ...]


def explanation_view(
    identifier: str, found: tuple[Explained, ...], definitions: Mapping[str, Definition], as_of: int
) -> ExplanationView:
    """The explanation of a customer; `definitions` by name, `as_of` in ms."""
    return ExplanationView(
        id=identifier,
        as_of=format_instant(as_of),
        lifecycles=tuple(
            LifecycleWhyView(
                lifecycle=each.explanation.lifecycle,
                version=each.explanation.version,
                tracks=tuple(
                    _track(definitions[each.explanation.lifecycle], track, each) for track in each.explanation.tracks
                ),
            )
            for each in found
        ),
    )


def _track(definition: Definition, here: TrackExplanation, explained: Explained) -> TrackWhyView:
    track = next(track for track in definition.tracks if track.name == here.track)
    stage = track.stages[here.stage]
    return TrackWhyView(
        track=here.track,
        stage=here.stage,
        label=stage.label,
        kind=stage.kind,
        since=format_instant(here.since),
        visit=here.visit,
        reason=here.reason,
        entered_by=_entered(definition, here, explained),
        transitions=tuple(_way(way, track.stages[way.to].label, explained.evidence) for way in here.transitions),
        conflict=None if here.conflict is None else here.conflict[:2],
    )


def _entered(definition: Definition, here: TrackExplanation, explained: Explained) -> EnteredView:
    entry: TransitionRow | None = explained.entries.get((definition.name, here.track))
    transition = here.entered_by.transition
    rules = (rule for track in definition.tracks for rules in track.rules.values() for rule in rules)
    why = next((rule.why for rule in rules if rule.id == transition), {})
    return EnteredView(
        transition=transition,
        why=why,
        version=None if entry is None else entry.version,
        cause="clock" if here.entered_by.cause == "clock" else "event",
        evidence=_evidence(here.entered_by.evidence, explained.evidence),
    )


def _way(way: Outgoing, label: dict[str, str], events: Mapping[str, ActivityRow]) -> WayView:
    return WayView(
        id=way.id,
        to=way.to,
        to_label=label,
        why=way.why,
        kind=way.kind,
        holds=way.holds,
        until=_instant(way.until),
        checklist=tuple(_check(check, events) for check in way.checklist),
    )


def _check(check: Checked, events: Mapping[str, ActivityRow]) -> CheckView:
    return CheckView(
        text=check.words,
        holds=check.holds,
        present=check.present,
        needed=check.needed,
        until=_instant(check.until),
        group=check.group,
        evidence=_evidence(check.evidence, events),
    )


def _evidence(ids: tuple[str, ...], events: Mapping[str, ActivityRow]) -> tuple[EvidenceView, ...]:
    views = []
    for message_id in ids:
        row = events.get(message_id)
        views.append(
            EvidenceView(
                message_id=message_id,
                name=None if row is None else row.name,
                occurred_at=None if row is None else format_instant(row.occurred_at),
            )
        )
    return tuple(views)


def _instant(instant: int | None) -> str | None:
    return None if instant is None else format_instant(instant)
