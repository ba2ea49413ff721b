"""The last check of `parcours verify`: every customer's journey is what the stored activity folds to."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select

from behavior import Definition, State, Transition
from behavior.errors import BehaviorError
from services.runtime.verification import Findings
from services.storage.database import Database
from tracks.domain.folding import events_of, refold
from tracks.domain.rows import ActivityRow, SubjectKey, SubjectRow, TransitionRow
from tracks.domain.subjects import subject_of_row
from tracks.store import TrackStore
from tracks.tables import TrackTables

__all__ = ["check_journeys", "differences"]

_AT_ONCE: Final = 500
_CHECK: Final = "journeys"


def check_journeys(
    database: Database,
    engine: str,
    tables: TrackTables,
    definitions: Sequence[Definition],
    findings: Findings,
    customers: int,
) -> None:
    """Fold customers again, all or an even sample of `customers`, and compare. Raises `StorageError`."""
    subjects = tables.subjects
    with database.reading() as transaction:
        total = transaction.connection.execute(select(func.count()).select_from(subjects)).scalar_one()
    step = 1 if customers == 0 else max(1, total // customers)
    store = TrackStore(tables)
    after: SubjectKey = ("", "")
    number = 0
    while True:
        key = (subjects.c.workspace, subjects.c.subject)
        with database.reading() as transaction:
            page = transaction.connection.execute(
                select(*key)
                .where((key[0] > after[0]) | ((key[0] == after[0]) & (key[1] > after[1])))
                .order_by(*key)
                .limit(_AT_ONCE * step)
            ).all()
            chosen = [(row[0], row[1]) for index, row in enumerate(page, start=number) if index % step == 0]
            rows = store.load_subjects(transaction, chosen)
            history = store.load_history(transaction, chosen)
            journeys = store.load_transitions(transaction, chosen)
        if not page:
            return
        number += len(page)
        after = (page[-1][0], page[-1][1])
        for each, row in rows.items():
            findings.count(f"customers refolded ({engine})")
            for problem in differences(row, history[each], journeys[each], definitions):
                findings.wrong(_CHECK, f"{engine}: {row.subject}: {problem}")


def differences(
    row: SubjectRow,
    history: Sequence[ActivityRow],
    journey: Sequence[TransitionRow],
    definitions: Sequence[Definition],
) -> list[str]:
    """How one customer's stored states and standing transitions differ from the fold of the stored events."""
    kind = row.subject.partition(":")[0]
    applying = [each for each in definitions if each.subject == ("user" if kind == "anon" else kind)]
    held = subject_of_row(row, applying).states
    found: list[str] = []
    for definition, state in zip(applying, held, strict=True):
        if state is None:
            continue  # written under another definition: it is folded again before it is used
        try:
            folded, transitions = refold(definition, events_of(history), row.counted_to)
        except BehaviorError as error:
            found.append(f"{definition.name} cannot be folded: {error}")
            continue
        standing = {
            _of_row(each) for each in journey if each.superseded_at is None and each.lifecycle == definition.name
        }
        expected = {_of_transition(each) for each in transitions}
        if standing != expected:
            found.append(
                f"{definition.name}: {len(standing ^ expected)} transitions differ from the fold of the activity"
            )
        elif not _same_state(state, folded):
            found.append(f"{definition.name}: the state differs from the fold of the activity")
    return found


_Fact = tuple[str, int, int, str | None, str, str, int, str | None]


def _of_row(row: TransitionRow) -> _Fact:
    place = (row.track, row.effective_at, row.ordinal, row.from_stage, row.to_stage)
    return (*place, row.transition, row.visit, row.reason)


def _of_transition(transition: Transition) -> _Fact:
    place = (transition.track, transition.at, transition.ordinal, transition.from_, transition.to)
    return (*place, transition.transition, transition.visit, transition.reason)


def _same_state(held: State, folded: State) -> bool:
    return held.dump() == folded.dump()
