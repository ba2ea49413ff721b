"""Campaigns: which news makes which message, through which channel, how often, and until when.

A campaign is set off in exactly one of three ways (`on:`):

- ``notify: <name>``: by the `notify` action of a stage. A stage that declares ``on_enter: [{notify: welcome}]`` sets
  off every campaign that declares ``on: {notify: welcome}``, and no other; the campaigns' own names play no part.
- ``stage: {lifecycle, track, enters}``: by entering that stage of a lifecycle, whatever actions the stage declares.
- ``segment: {segments, track, enters}``: by entering that stage of a track of a segments file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from schemas.changes import TrackChange
from schemas.language_errors import explain_errors
from schemas.language_types import DurationMs, Identifier, LanguageModel, names_or_one
from schemas.language_yaml import Document, InvalidDefinition, Problem, parse_yaml
from schemas.times import DAY, InvalidTime, parse_duration

__all__ = ["DEFAULT_VALID_FOR", "Campaign", "LoadedCampaign", "SegmentEntered", "StageEntered", "Trigger"]
__all__ += ["load_campaign", "load_campaigns"]

DEFAULT_VALID_FOR = 3 * DAY

_Names = Annotated[tuple[str, ...], BeforeValidator(names_or_one)]


def _once_per(value: Any) -> Any:
    if value in ("visit", "subject"):
        return value
    try:
        milliseconds = parse_duration(value) if isinstance(value, str) else 0
    except InvalidTime:
        milliseconds = 0
    if milliseconds <= 0:
        raise ValueError("`once_per` is visit, subject, or a duration such as 30d.")
    return milliseconds


class StageEntered(LanguageModel):
    """Entering one of the stages `enters` of a lifecycle's track."""

    lifecycle: Identifier
    track: Identifier
    enters: _Names


class SegmentEntered(LanguageModel):
    """Entering one of the stages `enters` of a track of the segments file named `segments`."""

    segments: Identifier = "segments"
    track: Identifier
    enters: _Names


class Trigger(LanguageModel):
    """What sets a campaign off: exactly one of the three."""

    notify: Identifier | None = None
    stage: StageEntered | None = None
    segment: SegmentEntered | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Trigger":
        if len([each for each in (self.notify, self.stage, self.segment) if each is not None]) != 1:
            raise ValueError("Give exactly one of `notify`, `stage` and `segment`.")
        return self


class Campaign(LanguageModel):
    """One campaign file. Durations are in milliseconds.

    `once_per` is the scope within which it is sent once: a visit of the stage, the whole life of the subject, or a
    time bucket of so many milliseconds. `valid_for` counts from when the change became known, not from when it took
    effect (how old a change may be for any effect is a setting of the system): after it, nothing is sent any more.
    """

    campaign: Identifier
    version: Annotated[int, Field(ge=1)]
    on: Trigger
    template: Identifier
    channel: Literal["email"] = "email"
    once_per: Annotated[Literal["visit", "subject"] | int, BeforeValidator(_once_per)] = "visit"
    valid_for: DurationMs = DEFAULT_VALID_FOR
    paused: bool = False

    def set_off_by(self, change: TrackChange, *, segment: bool) -> bool:
        """Whether this change sets the campaign off; `segment`: it is a change of a segments file."""
        on = self.on
        if on.notify is not None:
            return any(action.get("notify") == on.notify for action in change.actions)
        if on.stage is not None:
            entered = (on.stage.lifecycle, on.stage.track) == (change.lifecycle, change.track)
            return not segment and entered and change.to in on.stage.enters
        if on.segment is not None:
            entered = (on.segment.segments, on.segment.track) == (change.lifecycle, change.track)
            return segment and entered and change.to in on.segment.enters
        return False


@dataclass(frozen=True, slots=True)
class LoadedCampaign:
    """A campaign, and where in its file its parts stand (to say so when one of them fits nothing else)."""

    campaign: Campaign
    document: Document

    def problem(self, key: str, code: str, sentence: str) -> Problem:
        """A problem at the value of a key of the campaign."""
        return self.document.problem((key,), code, sentence)


def load_campaign(source: str | bytes, file: str = "campaign") -> LoadedCampaign:
    """Read and validate one campaign: YAML of at most 256 KiB; `file` is the name to show.

    Raises `InvalidDefinition` holding every problem found, each with file, line, column, a code and a sentence.
    """
    document = parse_yaml(source, file)
    if not isinstance(document.data, dict):
        sentence = "A campaign is a mapping that begins with `campaign:`."
        raise InvalidDefinition([document.problem((), "not_a_mapping", sentence)])
    try:
        campaign = Campaign.model_validate(document.data)
    except ValidationError as error:
        raise InvalidDefinition(explain_errors(document, error)) from None
    return LoadedCampaign(campaign=campaign, document=document)


def load_campaigns(files: Mapping[str, bytes]) -> tuple[LoadedCampaign, ...]:
    """Read campaigns from file names and contents, in the order of their names.

    Raises `InvalidDefinition` with the problems of all files, also for a name used by two files.
    """
    loaded: list[LoadedCampaign] = []
    problems: list[Problem] = []
    names: dict[str, str] = {}
    for file in sorted(files):
        try:
            found = load_campaign(files[file], file)
        except InvalidDefinition as error:
            problems.extend(error.problems)
            continue
        name = found.campaign.campaign
        if name in names:
            sentence = f"The campaign {name} is already defined in {names[name]}. Give one of them another name."
            problems.append(found.problem("campaign", "duplicate_campaign", sentence))
        names.setdefault(name, file)
        loaded.append(found)
    if problems:
        raise InvalidDefinition(problems)
    return tuple(loaded)
