"""The bodies that the segmenter's API answers, and how rows become them. Times are RFC 3339 with milliseconds."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from behavior import Definition
from schemas.ids import display_id
from schemas.times import format_instant
from tracks.domain.rows import StageRow

__all__ = ["MemberList", "MemberView", "SegmentCount", "SegmentTrack", "SegmentsList", "SegmentsView"]
__all__ += ["member_view", "segments_view"]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class SegmentCount(_View):
    """A stage of a segment and how many customers are in it. `label` has one text per language."""

    stage: str = Field(examples=["engaged"])
    kind: str | None = Field(examples=["post"])
    label: dict[str, str] = Field(examples=[{"en": "Engaged", "fr": "Engagé"}])
    count: int = Field(examples=[12])


class SegmentTrack(_View):
    """A segment: a customer is in exactly one of its stages. `total` is the sum of the counts."""

    track: str = Field(examples=["engaged"])
    primary: bool = Field(examples=[True])
    initial: str = Field(examples=["unknown"])
    total: int = Field(examples=[300])
    stages: tuple[SegmentCount, ...]


class SegmentsView(_View):
    """An active segments file, with counts under this version. `definition` is the whole file as JSON."""

    name: str = Field(examples=["segments"])
    version: int = Field(examples=[1])
    hash: str = Field(examples=["9d5ed678fe57bcca610140957afab571"])
    subject: str = Field(examples=["user"])
    as_of: str = Field(examples=["2026-11-25T12:00:00.000Z"])
    tracks: tuple[SegmentTrack, ...]
    definition: dict[str, Any] | None = Field(default=None, description="Only in GET /v1/segments/{name}.")


class SegmentsList(_View):
    """The active segments files, without their definitions."""

    segments: tuple[SegmentsView, ...]


class MemberView(_View):
    """A customer in a segment: since when, on which visit, and for which reason."""

    id: str = Field(examples=["u-42"])
    since: str = Field(examples=["2026-11-20T08:15:00.000Z"])
    visit: int = Field(examples=[2])
    reason: str | None = Field(examples=[None])


class MemberList(_View):
    """Members in order of their ids. `next` is the cursor of the following page, or null on the last."""

    name: str = Field(examples=["segments"])
    version: int = Field(examples=[1])
    track: str = Field(examples=["engaged"])
    stage: str = Field(examples=["engaged"])
    members: tuple[MemberView, ...]
    next: str | None = Field(examples=["dXNlcjp1LTQy"])
    as_of: str = Field(examples=["2026-11-25T12:00:00.000Z"])


def segments_view(
    definition: Definition, counts: Mapping[tuple[str, str], int], as_of: int, *, whole: bool
) -> SegmentsView:
    """A segments file with its counts by (track, stage); `as_of` in ms; `whole` adds its definition."""
    tracks = []
    for track in definition.tracks:
        stages = tuple(
            SegmentCount(
                stage=stage.name, kind=stage.kind, label=stage.label, count=counts.get((track.name, stage.name), 0)
            )
            for stage in track.stages.values()
        )
        tracks.append(
            SegmentTrack(
                track=track.name,
                primary=track.name == definition.primary.name,
                initial=track.initial,
                total=sum(stage.count for stage in stages),
                stages=stages,
            )
        )
    return SegmentsView(
        name=definition.name,
        version=definition.version,
        hash=definition.hash,
        subject=definition.subject,
        as_of=format_instant(as_of),
        tracks=tuple(tracks),
        definition=definition.file.model_dump(mode="json", by_alias=True, exclude_defaults=True) if whole else None,
    )


def member_view(row: StageRow) -> MemberView:
    """A stored place of a customer."""
    return MemberView(id=display_id(row.subject), since=format_instant(row.since), visit=row.visit, reason=row.reason)
