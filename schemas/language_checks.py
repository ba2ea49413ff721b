"""Static checks of a definition: names that lead nowhere, rules that can never work."""

from collections.abc import Iterable, Iterator

from schemas.calendars import UnknownZone, load_zone
from schemas.language_model import EVERY_STAGE, DefinitionFile, Track, Transition
from schemas.language_predicates import Condition, Ratio, Stream
from schemas.language_yaml import Document, Path, Problem

__all__ = ["MAX_CONDITION_DEPTH", "check_definition"]

MAX_CONDITION_DEPTH = 8


def check_definition(document: Document, definition: DefinitionFile) -> list[Problem]:
    """Every error that needs more than one place of the file to see; empty when the definition can be used."""
    found = list(_Checks(definition).run())
    return [document.problem(path, code, sentence) for path, code, sentence in found]


_Finding = tuple[Path, str, str]


class _Checks:
    def __init__(self, definition: DefinitionFile) -> None:
        self.file = definition
        self.milestones = {
            action.milestone
            for track in definition.tracks.values()
            for stage in track.stages.values()
            for action in stage.on_enter
            if action.milestone is not None
        }

    def run(self) -> Iterator[_Finding]:
        try:
            load_zone(self.file.zone)
        except UnknownZone as error:
            yield ("zone",), error.code, str(error)
        for name, events in self.file.event_groups.items():
            if any(event.startswith("@") for event in events):
                yield ("event_groups", name), "nested_group", "A group lists events; it cannot name another group."
        primaries = [name for name, track in self.file.tracks.items() if track.primary]
        for name in primaries[1:]:
            sentence = f"Only one track is primary, and `{primaries[0]}` already is. Remove one `primary: true`."
            yield ("tracks", name, "primary"), "several_primary_tracks", sentence
        for name, track in self.file.tracks.items():
            yield from self._track(("tracks", name), name, track)

    def _track(self, path: Path, name: str, track: Track) -> Iterator[_Finding]:
        yield from self._stages((*path, "initial"), name, track, [track.initial])
        seen: set[str] = set()
        for index, transition in enumerate(track.transitions):
            here = (*path, "transitions", index)
            if transition.id in seen:
                sentence = f"Another transition of this track is already called `{transition.id}`. Rename one."
                yield (*here, "id"), "duplicate_transition", sentence
            seen.add(transition.id)
            yield from self._transition(here, name, track, transition)
        for below, condition in track.conditions():
            yield from self._condition((*path, *below), condition)
            if sum(1 for part in below if part in ("all", "any", "not")) > MAX_CONDITION_DEPTH:
                sentence = f"Conditions are nested more than {MAX_CONDITION_DEPTH} deep here. Make them flatter."
                yield (*path, *below), "too_deep", sentence

    def _transition(self, path: Path, name: str, track: Track, transition: Transition) -> Iterator[_Finding]:
        sources = [source for source in transition.from_ if source != EVERY_STAGE]
        yield from self._stages((*path, "from"), name, track, sources)
        target = transition.to
        yield from self._stages((*path, "to"), name, track, dict.fromkeys((*target.history, target.default)))
        if transition.event is not None:
            yield from self._groups((*path, "event"), transition.event)
        for source in sources:
            if source in track.stages and track.stages[source].final:
                sentence = f"The stage `{source}` is final, so nothing leaves it. Remove `final` or this source."
                yield (*path, "from"), "final_stage_left", sentence

    def _stages(self, path: Path, name: str, track: Track, stages: Iterable[str]) -> Iterator[_Finding]:
        for stage in stages:
            if stage not in track.stages:
                known = ", ".join(track.stages)
                sentence = f"The track `{name}` has no stage `{stage}`. It has: {known}."
                yield path, "unknown_stage", sentence

    def _groups(self, path: Path, events: tuple[str, ...]) -> Iterator[_Finding]:
        for event in events:
            if event.startswith("@") and event[1:] not in self.file.event_groups:
                known = ", ".join(self.file.event_groups) or "none yet"
                sentence = f"There is no event group `{event}`. Groups are defined under `event_groups`: {known}."
                yield path, "unknown_event_group", sentence

    def _condition(self, path: Path, condition: Condition) -> Iterator[_Finding]:
        here = (*path, condition.kind)
        asked = getattr(condition, condition.kind, None)
        if isinstance(asked, Stream):
            yield from self._groups((*here, "event"), asked.event)
        elif isinstance(asked, Ratio):
            yield from self._groups((*here, "numerator", "event"), asked.numerator.event)
            yield from self._groups((*here, "denominator", "event"), asked.denominator.event)
        elif condition.date is not None:
            yield from self._groups((*here, "event"), condition.date.event or ())
        elif condition.milestone is not None and condition.milestone not in self.milestones:
            sentence = f"No stage sets the milestone `{condition.milestone}`. Add it to an `on_enter` list."
            yield here, "unknown_milestone", sentence
        elif condition.score is not None:
            yield from self._score(here, condition)
        elif condition.in_stage is not None:
            yield from self._in_stage(here, condition)

    def _score(self, path: Path, condition: Condition) -> Iterator[_Finding]:
        asked = condition.score
        if asked is None:
            return
        score = self.file.scores.get(asked.name)
        if score is None:
            known = ", ".join(self.file.scores) or "none yet"
            sentence = f"There is no score `{asked.name}`. Scores are defined under `scores`: {known}."
            yield (*path, "name"), "unknown_score", sentence
        elif asked.at_least is not None and asked.at_least > score.cap:
            sentence = f"The score `{asked.name}` is shown up to {score.cap}, so it never reaches {asked.at_least}."
            yield (*path, "at_least"), "score_out_of_reach", sentence

    def _in_stage(self, path: Path, condition: Condition) -> Iterator[_Finding]:
        asked = condition.in_stage
        if asked is None or asked.lifecycle not in (None, self.file.lifecycle):
            return
        track = self.file.tracks.get(asked.track)
        if track is None:
            known = ", ".join(self.file.tracks)
            sentence = f"There is no track `{asked.track}`. Tracks of this file: {known}."
            yield (*path, "track"), "unknown_track", sentence
        else:
            yield from self._stages((*path, "stage"), asked.track, track, asked.stage)
