"""One instant of one subject: the initial stages, event transitions, and the level phase run to completion."""

from collections.abc import Sequence

from behavior.conditions import MAX_EVIDENCE
from behavior.definition import CompiledTrack, Definition, Rule
from behavior.events import Event, is_fact
from behavior.state import NEVER, State, TrackState
from behavior.transitions import CLOCK, INITIAL, Transition

__all__ = ["Instant"]

_MOST_BITS = 2**63
_EVERYTHING = -1


class Instant:
    """What happens to `state` at `at`. `events` are those of the instant in canonical order."""

    __slots__ = (
        "at",
        "definition",
        "events",
        "examined",
        "made",
        "occupied",
        "saved",
        "state",
        "steps",
        "until",
        "watch",
    )

    def __init__(self, definition: Definition, state: State, at: int, events: Sequence[Event]) -> None:
        self.definition = definition
        self.state = state
        self.at = at
        self.events = events
        self.made: list[Transition] = []
        self.steps: list[Transition] = []
        self.occupied: list[set[str]] = []
        self.saved: list[TrackState] = []
        self.examined: set[int] = set()
        self.watch = 0
        self.until = NEVER

    def begin(self) -> None:
        """Enter every track's initial stage: the subject's first instant."""
        state, at = self.state, self.at
        state.first_at = at
        first = next((event for event in self.events if not is_fact(event)), self.events[0])
        for track in self.definition.tracks:
            here = TrackState(track.initial, at, {track.initial: 1}, [], None, INITIAL, first.message_id, ())
            here.due = at
            state.tracks.append(here)
            state.milestones |= track.stages[track.initial].flags
        for track, here in zip(self.definition.tracks, state.tracks, strict=True):
            ids = self._reason(track, here, [first.message_id])
            self.made.append(self._record(track, here, None, 0, (first.message_id,), ids))

    def offer(self, event: Event, index: int, rules: tuple[Rule, ...]) -> int:
        """Let the first enabled of the event rules fire; the bits that its firing sets, 0 if none did."""
        state, at = self.state, self.at
        track, here = self.definition.tracks[index], state.tracks[index]
        for rule in rules:
            if rule.where is not None and not rule.where(event.content()):
                continue
            if rule.check is not None and not rule.check(state, here, at)[0]:
                continue
            target = rule.target(here)
            if target == here.stage:
                continue
            evidence = [event.message_id]
            if rule.node is not None:
                evidence += rule.node.evidence(state, here, at)
            origin = here.stage
            bits = self._enter(track, here, target, rule.id, event.message_id)
            ids = self._reason(track, here, evidence)
            self.made.append(self._record(track, here, origin, 0, (event.message_id,), ids))
            return bits
        return 0

    def settle(self, fed: int, *, everything: bool) -> list[Transition]:
        """Run the level phase and say when to look again; all transitions of the instant, in order.

        `fed` are the bits set so far; tracks whose last answer still stands are left alone unless `everything`.
        """
        state, at = self.state, self.at
        dirty = [everything or here.due <= at or bool(here.watch & fed) for here in state.tracks]
        conflicts: dict[int, tuple[str, str]] = {}
        milestones = state.milestones
        while not self._run(dirty, conflicts):
            state.tracks = [here.copy() for here in self.saved]
            state.milestones = milestones
            dirty = [index not in conflicts for index in range(len(state.tracks))]
            self.steps = []
            self.occupied = []
        self.made += self.steps
        self._note_conflicts(conflicts)
        state.next_due = min(here.due for here in state.tracks)
        return self.made

    def _run(self, dirty: list[bool], conflicts: dict[int, tuple[str, str]]) -> bool:
        """Rounds until nothing fires: True; False as soon as a track would go in a circle, which is then noted."""
        tracks = self.state.tracks
        fired = True
        while fired:
            fired = False
            for index, here in enumerate(tracks):
                if not dirty[index] or index in conflicts:
                    continue
                track = self.definition.tracks[index]
                self.examined.add(index)
                rule = self._examine(track, here)
                if rule is None:
                    dirty[index] = False
                    continue
                if not self.saved:
                    self.saved = [each.copy() for each in tracks]
                target = rule.target(here)
                if target in self._occupied(index):
                    conflicts[index] = (self._latest(track.name), rule.id)
                    return False
                bits = self._fire(track, here, rule, target)
                fired = True
                for other, there in enumerate(tracks):
                    dirty[other] = dirty[other] or bool(there.watch & bits)
        return True

    def _examine(self, track: CompiledTrack, here: TrackState) -> Rule | None:
        """The first enabled level rule; without one, how long that stays so is noted with the track."""
        state, at = self.state, self.at
        until = NEVER
        watch = 0
        enabled: Rule | None = None
        for rule in track.levels[here.stage]:
            if rule.check is None:
                continue
            holds, stands_until, bits = rule.check(state, here, at)
            if stands_until < until:
                until = stands_until
            watch |= bits
            if holds and rule.target(here) != here.stage:
                enabled = rule
                break
        self.watch |= watch
        self.until = min(self.until, until)
        if enabled is None:
            here.due = until
            here.watch = watch if watch < _MOST_BITS else _EVERYTHING
        return enabled

    def _fire(self, track: CompiledTrack, here: TrackState, rule: Rule, target: str) -> int:
        evidence = list(rule.node.evidence(self.state, here, self.at)) if rule.node is not None else []
        cause = next((event.message_id for event in self.events if event.name in rule.names), CLOCK)
        origin = here.stage
        bits = self._enter(track, here, target, rule.id, cause)
        ids = self._reason(track, here, evidence)
        causes = () if cause == CLOCK else (cause,)
        self.occupied[track.position].add(target)
        self.steps.append(self._record(track, here, origin, len(self.steps), causes, ids))
        return bits

    def _enter(self, track: CompiledTrack, here: TrackState, target: str, rule_id: str, cause: str) -> int:
        """Put the subject into a stage; the bits that this sets in a watch."""
        if here.stage in here.left:
            here.left.remove(here.stage)
        here.left.append(here.stage)
        here.stage = target
        here.since = self.at
        here.due = self.at
        here.visits[target] = here.visits.get(target, 0) + 1
        here.entered_by = rule_id
        here.cause = cause
        stage = track.stages[target]
        self.state.milestones |= stage.flags
        return track.moved_bit | stage.flag_bits

    def _reason(self, track: CompiledTrack, here: TrackState, evidence: list[str]) -> tuple[str, ...]:
        """Choose and freeze the reason of the entry; the ids of all events that the entry rests on."""
        here.reason = None
        for reason in track.stages[here.stage].reasons:
            if reason.node.check(self.state, here, self.at)[0]:
                here.reason = reason.label
                evidence += reason.node.evidence(self.state, here, self.at)
                break
        here.evidence = tuple(dict.fromkeys(evidence))[:MAX_EVIDENCE]
        return here.evidence

    def _record(
        self,
        track: CompiledTrack,
        here: TrackState,
        origin: str | None,
        step: int,
        message_ids: tuple[str, ...],
        evidence: tuple[str, ...],
    ) -> Transition:
        ordinal = sum(1 for each in (*self.made, *self.steps) if each.track == track.name)
        return Transition(
            track.name,
            ordinal,
            step,
            origin,
            here.stage,
            here.entered_by,
            here.visits[here.stage],
            self.at,
            here.reason,
            here.cause,
            message_ids,
            evidence,
            track.stages[here.stage].actions,
        )

    def _occupied(self, index: int) -> set[str]:
        """The stages in which the subject already was at this instant, per track."""
        if not self.occupied:
            for track, here in zip(self.definition.tracks, self.state.tracks, strict=True):
                stages = {here.stage}
                for each in self.made:
                    if each.track == track.name:
                        stages |= {each.to} if each.from_ is None else {each.from_, each.to}
                self.occupied.append(stages)
        return self.occupied[index]

    def _latest(self, track: str) -> str:
        return next(each.transition for each in reversed((*self.made, *self.steps)) if each.track == track)

    def _note_conflicts(self, conflicts: dict[int, tuple[str, str]]) -> None:
        """Void tracks are examined again a tick later if anything happened, then when a consulted answer may change."""
        for index, here in enumerate(self.state.tracks):
            if index not in conflicts:
                if index in self.examined:
                    here.conflict = None
                continue
            first, second = conflicts[index]
            same = here.conflict is not None and here.conflict[:2] == (first, second)
            here.conflict = here.conflict if same else (first, second, self.at)
            here.watch = self.watch if self.watch < _MOST_BITS else _EVERYTHING
            here.due = self.at + 1 if self.events or self.made else self.until
