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


def fold_groups(work: Work, groups: Sequence[Group]) -> list[Subject]:
    """Fold new, stored events and write everything that follows; the subjects that changed.

    An event that its subject's definitions cannot take (`StateOverflow`) becomes a dead letter and is not kept.
    """
    ready: list[Group] = []
    troubled: list[Group] = []
    for group in groups:
        group.note_arrivals(work.engine.settle, work.engine.settle_history)
        try:
            group.fold_forward()
        except BehaviorError:
            troubled.append(group)
        else:
            ready.append(group)
    done, failed = _conclude(work, ready)
    subjects = [group.subject for group in done]
    for group in (*troubled, *failed):
        subject = _fold_carefully(work, group)
        if subject is not None:
            subjects.append(subject)
    _save(work, subjects)
    return subjects


def run_due(work: Work, rows: Sequence[SubjectRow], clock: int) -> list[Subject]:
    """Run the due instants up to `clock` (ms) of subjects whose `wake_at` has come; the subjects that changed."""
    awake: dict[SubjectKey, Group] = {}
    moved: dict[SubjectKey, int | None] = {}
    for row in rows:
        key = (row.workspace, row.subject)
        subject = work.cache.find(work.partition, record_key(*key)) or subject_of_row(
            row, work.engine.definitions_of(row.subject)
        )
        due = subject.due_at
        if None not in subject.states and (due is None or due > clock):
            subject.wake_at = moved[key] = due
            continue
        awake[key] = Group(subject, [])
    done, _ = _conclude(work, [group for group in awake.values() if _silent(group, clock)])
    completed = {group.key for group in done}
    for row in rows:
        key = (row.workspace, row.subject)
        if key in awake and key not in completed:
            # Its states were left half-way: take the stored ones, and let only a further event wake it.
            subject = awake[key].subject
            subject.states = subject_of_row(row, subject.definitions).states
            subject.wake_at = moved[key] = None
    if len(completed) < len(awake):
        work.store.add_count(work.transaction, STUCK_SUBJECTS, work.partition, len(awake) - len(completed))
    work.store.move_wakes(work.transaction, moved)
    subjects = [group.subject for group in done]
    for subject in subjects:
        subject.wake_at = None
        subject.counted_to = max(subject.counted_to, clock)
    _save(work, subjects)
    return subjects


def _silent(group: Group, clock: int) -> bool:
    try:
        group.fold_silence(clock)
    except BehaviorError:
        return False
    return True


def _save(work: Work, subjects: Sequence[Subject]) -> None:
    for subject in subjects:
        subject.lower_wake()
    work.store.save_subjects(work.transaction, [row_of_subject(subject) for subject in subjects])


def _conclude(work: Work, groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Refold where needed and write the transitions; the groups that are done, and those that cannot be folded."""
    histories = [group.key for group in groups if group.needs_history]
    journeys = [group.key for group in groups if group.needs_rows]
    history = work.store.load_history(work.transaction, histories) if histories else {}
    stored = work.store.load_transitions(work.transaction, journeys) if journeys else {}
    done: list[Group] = []
    failed: list[Group] = []
    for group in groups:
        key = group.key
        try:
            if key in history:
                group.fold_history(history[key])
        except BehaviorError:
            failed.append(group)
        else:
            group.record(work.results, stored.get(key, ()), work.now)
            done.append(group)
    work.results.write(work.transaction, work.store, work.now)
    return done, failed


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
