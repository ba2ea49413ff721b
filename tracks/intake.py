"""The first half of a batch: from records to new, stored events, grouped by subject."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.ids import partition_of, split_key
from schemas.processing import DeadLetter
from schemas.records import BadRecord, StoredRecord
from tracks.domain.rows import ActivityRow, EventKey, SubjectKey, SubjectRow
from tracks.domain.subjects import Subject, subject_of_row
from tracks.groups import Group
from tracks.reading import Arrival, Facts, read_event
from tracks.store import DUPLICATE_ID_CONFLICTS
from tracks.work import Work

__all__ = ["Mail", "group_mail", "read_records", "store_new"]

_WRONG_PARTITION = "The record does not stand in the partition of its key."


@dataclass(slots=True)
class Mail:
    """What the records of a batch bring, per record key: events, and the message ids of facts to take out again."""

    arrivals: dict[bytes, list[Arrival]] = field(default_factory=dict)
    withdrawn: dict[bytes, list[str]] = field(default_factory=dict)


def read_records(work: Work, records: Sequence[StoredRecord], facts: Callable[[StoredRecord], Facts]) -> Mail:
    """Read records; `facts` reads those that are no events. Unreadable ones become dead letters."""
    mail = Mail()
    arrivals = mail.arrivals
    event_topics = work.engine.event_topics
    for record in records:
        try:
            if record.topic in event_topics:
                arrival = read_event(record)
                key = record.key or b""
                if key in arrivals:
                    arrivals[key].append(arrival)
                else:
                    arrivals[key] = [arrival]
            else:
                _add_facts(mail, record.key or b"", facts(record))
        except BadRecord as error:
            work.dead.append(DeadLetter(record, error.code, str(error)))
    return mail


def _add_facts(mail: Mail, key: bytes, found: Facts) -> None:
    if found.withdrawn:
        # What the same batch brought before goes with it; what is stored is taken out by `store_new`.
        gone = set(found.withdrawn)
        kept = [each for each in mail.arrivals.get(key, ()) if each.row.message_id not in gone]
        if kept:
            mail.arrivals[key] = kept
        else:
            mail.arrivals.pop(key, None)
        mail.withdrawn.setdefault(key, []).extend(found.withdrawn)
    if found.added:
        mail.arrivals.setdefault(key, []).extend(found.added)


def group_mail(work: Work, mail: Mail) -> list[Group]:
    """The mail per subject. Events that stand in the wrong partition become dead letters."""
    arrivals, withdrawn = mail.arrivals, mail.withdrawn
    keys = dict.fromkeys((*arrivals, *withdrawn)) if withdrawn else arrivals
    found = {key: work.cache.find(work.partition, key) for key in keys}
    missing = {key: split_key(key) for key, subject in found.items() if subject is None}
    stored = work.store.load_subjects(work.transaction, list(missing.values()))
    groups = []
    for key, subject in found.items():
        if subject is None:
            subject = _subject(work, missing[key], stored.get(missing[key]))
        if subject is not None:
            groups.append(Group(subject, arrivals.get(key, []), withdrawn.get(key, ())))
        else:
            work.dead += [
                DeadLetter(each.record, "wrong_partition", _WRONG_PARTITION) for each in arrivals.get(key, ())
            ]
    return groups


def _subject(work: Work, key: SubjectKey, row: SubjectRow | None) -> Subject | None:
    definitions = work.engine.definitions_of(key[1])
    if row is not None:
        return subject_of_row(row, definitions) if row.partition == work.partition else None
    subject = Subject(*key, work.partition, definitions)
    partitions = work.engine.partitions
    return subject if not partitions or partition_of(subject.key, partitions) == work.partition else None


def store_new(work: Work, groups: Sequence[Group]) -> list[Group]:
    """Store what is new and take out what is withdrawn; the groups that hold something new, reduced to it."""
    conflicts = 0
    rows: list[ActivityRow] = []
    gone: list[EventKey] = []
    for group in groups:
        if len(group.arrivals) > 1:
            conflicts += group.drop_repeats()
        if not work.engine.keeps_every_event:
            group.drop_unconsulted()
        rows += [arrival.row for arrival in group.arrivals]
        gone += group.withdrawn_keys()
    if gone:
        deleted = set(work.store.delete_activity(work.transaction, gone))
        for group in groups:
            group.withdrawn = [key[2] for key in group.withdrawn_keys() if key in deleted]
    inserted = work.store.insert_activity(work.transaction, rows)
    if inserted.duplicates:
        for group in groups:
            group.arrivals = [each for each in group.arrivals if each.row[:3] not in inserted.duplicates]
    conflicts += inserted.conflicts
    if conflicts:
        work.conflicts += conflicts
        work.store.add_count(work.transaction, DUPLICATE_ID_CONFLICTS, work.partition, conflicts)
    return [group for group in groups if group.arrivals or group.withdrawn]
