"""What `parcours verify` holds a system to, and that it sees each kind of violation."""

import json

import pytest

from schemas.ids import record_key
from schemas.records import StoredRecord, cloud_event_headers
from schemas.topics import EVENTS, STAGE_CHANGES
from services.runtime.verification import (
    ChangeHistory,
    Findings,
    Numbered,
    Sequences,
    check_standing,
    event_keys,
    numbered,
)

CHANGED = "parcours.stage.changed"
CORRECTED = "parcours.stage.corrected"


def changed(sequence: int, id_: str, revision: int = 1) -> Numbered:
    """A change."""
    return Numbered(sequence, CHANGED, json.dumps({"id": id_, "revision": revision}).encode(), f"place {sequence}")


def corrected(sequence: int, retracted: list[tuple[str, int]], added: list[tuple[str, int]]) -> Numbered:
    """A correction."""
    body = {
        "retracted": [{"id": id_, "revision": revision} for id_, revision in retracted],
        "added": [{"id": id_, "revision": revision} for id_, revision in added],
    }
    return Numbered(sequence, CORRECTED, json.dumps(body).encode(), f"place {sequence}")


def failures(*records: Numbered, complete: bool = True) -> list[str]:
    """What is wrong with a history of changes."""
    findings = Findings()
    history = ChangeHistory(findings, complete=complete)
    for record in records:
        history.add(record)
    return [violation.sentence for violation in findings.violations]


def test_changes_corrections_and_restorations_are_in_order() -> None:
    records = (
        changed(1, "a"),
        changed(2, "b"),
        corrected(3, [("b", 1)], [("c", 1)]),
        corrected(4, [("c", 1)], [("b", 2)]),
    )
    assert failures(*records) == []
    findings = Findings()
    history = ChangeHistory(findings, complete=True)
    for record in records:
        history.add(record)
    assert history.standing() == {"a": 1, "b": 2}
    assert findings.counts["transitions added"] == 4
    assert findings.counts["transitions retracted"] == 2


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([changed(1, "a"), changed(2, "a")], "a, revision 1, is added a second time at place 2"),
        ([changed(1, "a"), changed(2, "a", 2)], "a is added at place 2 although it stands already"),
        ([changed(1, "a", 2)], "as revision 2, which is not the next one"),
        (
            [changed(1, "a"), corrected(2, [("a", 1)], []), changed(3, "a", 3)],
            "as revision 3, which is not the next one",
        ),
        ([corrected(1, [("a", 1)], [])], "a, revision 1, is retracted at place 1 although it does not stand"),
        ([changed(1, "a"), corrected(2, [("a", 1)], []), corrected(3, [("a", 1)], [])], "is retracted at place 3"),
        ([Numbered(1, CHANGED, b"{}", "place 1")], "The record at place 1 is not a change."),
    ],
)
def test_a_change_out_of_order_is_seen(records: list[Numbered], sentence: str) -> None:
    found = failures(*records)
    assert len(found) == 1
    assert sentence in found[0]


def test_what_retention_dropped_is_no_violation() -> None:
    assert failures(corrected(9, [("a", 1)], [("b", 3)]), complete=False) == []
    assert len(failures(changed(9, "a", 3), changed(10, "a", 3), complete=False)) == 1


def test_progress_is_no_change() -> None:
    assert failures(Numbered(1, "parcours.stage.progress", b"not even JSON", "place 1")) == []


def sequence_failures(added: list[tuple[int, str]], through: int, *, floor: int = 1) -> list[str]:
    """What is wrong with the sequences of a processor."""
    findings = Findings()
    sequences = Sequences("stage_engine, partition 0", findings)
    if floor > 1:
        sequences.begins_with(floor)
    for sequence, place in added:
        sequences.add(sequence, place)
    sequences.finish(through)
    return [violation.sentence for violation in findings.violations]


def test_dense_sequences_hold_over_all_topics() -> None:
    assert sequence_failures([(1, "a@0"), (3, "a@1"), (2, "b@0")], 3) == []


def test_a_sequence_that_is_missing_or_there_twice_is_seen() -> None:
    assert sequence_failures([(1, "a@0"), (3, "a@1")], 4) == [
        "stage_engine, partition 0: the sequence 2 is missing on the log.",
        "stage_engine, partition 0: the sequence 4 is missing on the log.",
    ]
    assert sequence_failures([(1, "a@0"), (1, "a@1")], 1) == [
        "stage_engine, partition 0: the sequence 1 is on the log twice, at a@0 and a@1."
    ]


def test_sequences_that_retention_dropped_are_not_missed() -> None:
    assert sequence_failures([(7, "a@0"), (8, "a@1")], 8, floor=7) == []


def test_database_and_topic_must_agree_on_what_stands() -> None:
    findings = Findings()
    history = ChangeHistory(findings, complete=True)
    for record in (changed(1, "a"), changed(2, "b"), changed(3, "c")):
        history.add(record)
    check_standing("stage_engine", history, {"a": 1, "b": 2, "d": 1}, findings)
    assert [violation.sentence for violation in findings.violations] == [
        "stage_engine: b, revision 2, stands in the database but not by the topic.",
        "stage_engine: d, revision 1, stands in the database but not by the topic.",
        "stage_engine: c, revision 1, stands by the topic but not in the database.",
    ]
    assert not findings.holds


def test_violations_are_counted_even_when_no_more_are_kept() -> None:
    findings = Findings()
    for number in range(200):
        findings.wrong("accepted", f"number {number}")
    assert findings.failures["accepted"] == 200
    assert len(findings.violations) == 50


def test_relayed_records_are_told_from_others() -> None:
    headers = (("ce_type", b"parcours.stage.changed"), ("processor", b"stage_engine"), ("sequence", b"12"))
    record = StoredRecord(STAGE_CHANGES, 3, 7, b"k", b"{}", headers, 0)
    assert numbered(record) == ("stage_engine", Numbered(12, CHANGED, b"{}", "parcours.stage-changes/3@7"))
    assert numbered(StoredRecord(STAGE_CHANGES, 3, 7, b"k", b"{}", (), 0)) is None


def test_events_are_known_by_customer_and_message() -> None:
    headers = cloud_event_headers("m-1", "Signed In", "/sources/x", 0, "user:ada")
    good = StoredRecord(EVENTS, 0, 1, record_key("default", "user:ada"), b"{}", headers, 0)
    bad = StoredRecord(EVENTS, 0, 2, b"nonsense", b"{}", headers, 0)
    assert event_keys([good, bad]) == [
        (("default", "user:ada", "m-1"), "parcours.events/0@1"),
        (("", "", ""), "parcours.events/0@2"),
    ]
