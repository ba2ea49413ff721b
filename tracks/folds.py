"""The second half of a batch: fold what is new, repair what came late, run what is due, and write what follows."""

from collections.abc import Sequence

from behavior import StateOverflow
from behavior.errors import BehaviorError
from schemas.ids import record_key
from schemas.processing import DeadLetter
from tracks.domain.rows import SubjectKey, SubjectRow
from tracks.domain.subjects import Subject, row_of_subject, subject_of_row
from tracks.groups import Group
from tracks.work import Work

__all__ = ["STUCK_SUBJECTS", "fold_groups", "run_due"]

STUCK_SUBJECTS = "stuck_subjects"
"""The name of the count of subjects whose due instants could not be run."""

_PATIENCE = 8
"""After so many events of one subject that cannot be folded, the rest of its batch is set aside unseen."""


class _Folded:
    """The subjects that changed, and their rows: taken at once, while a state is still in the processor's cache."""

    __slots__ = ("rows", "subjects")

    def __init__(self) -> None:
        self.subjects: list[Subject] = []
        self.rows: list[SubjectRow] = []

    def add(self, subject: Subject) -> None:
        subject.lower_wake()
        self.subjects.append(subject)
        self.rows.append(row_of_subject(subject))


def fold_groups(work: Work, groups: Sequence[Group]) -> list[Subject]:
    """Fold new, stored events and write everything that follows; the subjects that changed.

    An event that its subject's definitions cannot take (`StateOverflow`) becomes a dead letter and is not kept.
    """
    folded = _Folded()
    waiting: list[Group] = []
    troubled: list[Group] = []
    for group in groups:
        group.note_arrivals(work.engine.settle, work.engine.settle_history)
        try:
            group.fold_forward()
        except BehaviorError:
            troubled.append(group)
        else:
            _finish(work, group, folded, waiting)
    troubled += _conclude(work, waiting, folded)
    for group in troubled:
        subject = _fold_carefully(work, group)
        if subject is not None:
            folded.add(subject)
    work.store.save_subjects(work.transaction, folded.rows)
    return folded.subjects


def run_due(work: Work, rows: Sequence[SubjectRow], clock: int) -> list[Subject]:
    """Run the due instants up to `clock` (ms) of subjects whose `wake_at` has come; the subjects that changed."""
    folded = _Folded()
    waiting: list[Group] = []
    stuck: list[SubjectKey] = []
    moved: dict[SubjectKey, int | None] = {}
    for row in rows:
        group = Group(_held(work, row), [])
        subject = group.subject
        due = subject.due_at
        if None not in subject.states and (due is None or due > clock):
            subject.wake_at = moved[group.key] = due
            continue
        subject.wake_at = None
        subject.counted_to = max(subject.counted_to, clock)
        try:
            group.fold_silence(clock)
        except BehaviorError:
            stuck.append(group.key)
        else:
            _finish(work, group, folded, waiting)
    stuck += [group.key for group in _conclude(work, waiting, folded)]
    work.store.move_wakes(work.transaction, moved)
    work.store.save_subjects(work.transaction, folded.rows)
    return folded.subjects + _let_lie(work, rows, frozenset(stuck))


def _held(work: Work, row: SubjectRow) -> Subject:
    key = record_key(row.workspace, row.subject)
    return work.cache.find(work.partition, key) or subject_of_row(row, work.engine.definitions_of(row.subject))


def _let_lie(work: Work, rows: Sequence[SubjectRow], stuck: frozenset[SubjectKey]) -> list[Subject]:
    """Subjects whose due instants cannot be run, as they are stored: only a further event wakes them."""
    if not stuck:
        return []
    work.store.add_count(work.transaction, STUCK_SUBJECTS, work.partition, len(stuck))
    work.store.move_wakes(work.transaction, dict.fromkeys(stuck))
    stored = [row._replace(wake_at=None) for row in rows if (row.workspace, row.subject) in stuck]
    return [subject_of_row(row, work.engine.definitions_of(row.subject)) for row in stored]


def _finish(work: Work, group: Group, folded: _Folded, waiting: list[Group]) -> None:
    if group.needs_rows:
        waiting.append(group)
    else:
        group.record(work.results, (), work.now)
        folded.add(group.subject)


def _conclude(work: Work, waiting: Sequence[Group], folded: _Folded) -> list[Group]:
    """Refold the groups that need it, and write all transitions; the groups that cannot be folded."""
    histories = [group.key for group in waiting if group.needs_history]
    history = work.store.load_history(work.transaction, histories)
    stored = work.store.load_transitions(work.transaction, [group.key for group in waiting])
    failed: list[Group] = []
    for group in waiting:
        try:
            if group.key in history:
                group.fold_history(history[group.key])
        except BehaviorError:
            failed.append(group)
        else:
            group.record(work.results, stored[group.key], work.now)
            folded.add(group.subject)
    work.results.write(work.transaction, work.store, work.now)
    return failed


def _fold_carefully(work: Work, group: Group) -> Subject | None:
    """Fold the events of a group one by one, each with what follows from it; the ones at fault become dead letters.

    None when there is no such subject without them.
    """
    subject = group.subject
    definitions = subject.definitions
    work.store.delete_activity(work.transaction, [arrival.row[:3] for arrival in group.arrivals])
    found = work.store.load_subjects(work.transaction, [group.key]).get(group.key)
    before = found or row_of_subject(Subject(subject.workspace, subject.subject, subject.partition, definitions))
    parts = [Group(subject, [], group.withdrawn)] if group.withdrawn else []
    parts += [Group(subject, [arrival]) for arrival in group.arrivals]
    failures = 0
    for part in parts:
        part.subject = subject_of_row(before, definitions)
        error = _fold_part(work, part) if failures < _PATIENCE else _impatient()
        if error is None:
            before = row_of_subject(part.subject)
            continue
        failures += 1
        for arrival in part.arrivals:
            work.dead.append(DeadLetter(arrival.record, error.code, str(error)))
    return subject_of_row(before, definitions) if found is not None or before.first_at is not None else None


def _fold_part(work: Work, part: Group) -> BehaviorError | None:
    work.store.insert_activity(work.transaction, [arrival.row for arrival in part.arrivals])
    part.note_arrivals(work.engine.settle, work.engine.settle_history)
    try:
        part.fold_forward()
        if part.needs_history:
            part.fold_history(work.store.load_history(work.transaction, [part.key])[part.key])
    except BehaviorError as error:
        work.store.delete_activity(work.transaction, [arrival.row[:3] for arrival in part.arrivals])
        return error
    stored = work.store.load_transitions(work.transaction, [part.key])[part.key]
    part.record(work.results, stored, work.now)
    work.results.write(work.transaction, work.store, work.now)
    return None


def _impatient() -> BehaviorError:
    return StateOverflow(f"{_PATIENCE} other events of this subject came with it and could not be folded.")
