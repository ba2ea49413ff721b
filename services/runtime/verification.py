"""What must hold of a log and a database, whatever happened: pure checks over records and rows."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from schemas.records import BadRecord, Headers, StoredRecord, header, read_envelope

__all__ = [
    "ChangeHistory",
    "Findings",
    "Numbered",
    "Sequences",
    "Violation",
    "check_standing",
    "event_keys",
    "numbered",
]

_KEPT: Final = 50
_CHANGED: Final = (".changed", ".corrected")

Revision = tuple[str, int]
"""(id, revision) of a transition."""


class Violation(NamedTuple):
    """Something that must not be: the name of the check, and a sentence that says where and what."""

    check: str
    sentence: str


@dataclass(slots=True)
class Findings:
    """What was counted and what was found wrong; of each check the first violations are kept."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[what] += number

    def wrong(self, check: str, sentence: str) -> None:
        """Note a violation."""
        self.failures[check] += 1
        if self.failures[check] <= _KEPT:
            self.violations.append(Violation(check, sentence))


class Numbered(NamedTuple):
    """A record of a processor: its sequence, the kind and value, and where it stands (for people)."""

    sequence: int
    kind: str
    value: bytes
    place: str


def numbered(record: StoredRecord) -> tuple[str, Numbered] | None:
    """(processor, record) of a record that a relay published; None for others (the door's)."""
    try:
        processor, sequence = header(record.headers, "processor"), header(record.headers, "sequence")
    except BadRecord:
        return None
    if processor is None or sequence is None or not sequence.isdigit():
        return None
    return processor, Numbered(int(sequence), kind_of(record.headers), record.value or b"", str(record.place))


def kind_of(headers: Headers) -> str:
    """The CloudEvents type, or nothing."""
    return next((value.decode("utf-8", "replace") for name, value in headers if name == "ce_type"), "")


def event_keys(records: Iterable[StoredRecord]) -> list[tuple[tuple[str, str, str], str]]:
    """((workspace, subject, message id), place) of the records that are events; unreadable ones have an empty key."""
    found: list[tuple[tuple[str, str, str], str]] = []
    for record in records:
        try:
            envelope = read_envelope(record)
        except BadRecord:
            found.append((("", "", ""), str(record.place)))
        else:
            found.append(((envelope.workspace, envelope.subject, envelope.message_id), str(record.place)))
    return found


class Sequences:
    """The sequences of one (processor, partition) on all its output topics: each exactly once, without a gap."""

    def __init__(self, name: str, findings: Findings) -> None:
        """`name` says whose they are."""
        self._name = name
        self._findings = findings
        self._places: dict[int, str] = {}
        self._floor = 1

    def add(self, sequence: int, place: str) -> None:
        """A record with this sequence stands there."""
        self._findings.count("sequenced records")
        earlier = self._places.setdefault(sequence, place)
        if earlier != place:
            self._findings.wrong(
                "sequences", f"{self._name}: the sequence {sequence} is on the log twice, at {earlier} and {place}."
            )

    def begins_with(self, sequence: int) -> None:
        """Retention has dropped what came before on a topic that now begins with this sequence."""
        self._floor = max(self._floor, sequence)

    def finish(self, published_through: int) -> None:
        """Every sequence up to that one must have been added."""
        known = self._places.keys()
        missing = [number for number in range(self._floor, published_through + 1) if number not in known]
        for number in missing:
            self._findings.wrong("sequences", f"{self._name}: the sequence {number} is missing on the log.")


class _Change(msgspec.Struct):
    id: str
    revision: int


class _Corrected(msgspec.Struct):
    retracted: list[_Change]
    added: list[_Change]


_decode_change: Final = msgspec.json.Decoder(_Change).decode
_decode_corrected: Final = msgspec.json.Decoder(_Corrected).decode


class ChangeHistory:
    """The changes and corrections of one (processor, partition), in order of sequence.

    No (id, revision) is added twice; of each id, additions and retractions alternate, and each addition has the next
    revision. `complete`: nothing was dropped by retention.
    """

    def __init__(self, findings: Findings, *, complete: bool) -> None:
        """Nothing was read yet."""
        self._findings = findings
        self._complete = complete
        self._latest: dict[str, tuple[int, bool]] = {}

    def add(self, record: Numbered) -> None:
        """The next record; what is neither a change nor a correction is passed over."""
        if not record.kind.endswith(_CHANGED):
            return
        try:
            if record.kind.endswith(".changed"):
                retracted, added = [], [_decode_change(record.value)]
            else:
                corrected = _decode_corrected(record.value)
                retracted, added = corrected.retracted, corrected.added
                self._findings.count("corrections")
        except msgspec.MsgspecError:
            self._findings.wrong("changes", f"The record at {record.place} is not a change.")
            return
        for change in retracted:
            self._retract(change, record.place)
        for change in added:
            self._add(change, record.place)

    def _add(self, change: _Change, place: str) -> None:
        self._findings.count("transitions added")
        latest = self._latest.get(change.id)
        if latest is not None and change.revision <= latest[0]:
            self._wrong(f"{change.id}, revision {change.revision}, is added a second time at {place}.")
        elif latest is not None and latest[1]:
            self._wrong(f"{change.id} is added at {place} although it stands already.")
        elif change.revision != (1 if latest is None else latest[0] + 1) and (self._complete or latest is not None):
            self._wrong(f"{change.id} is added at {place} as revision {change.revision}, which is not the next one.")
        self._latest[change.id] = (change.revision, True)

    def _retract(self, change: _Change, place: str) -> None:
        self._findings.count("transitions retracted")
        latest = self._latest.get(change.id)
        if (latest is None and self._complete) or (latest is not None and latest != (change.revision, True)):
            self._wrong(f"{change.id}, revision {change.revision}, is retracted at {place} although it does not stand.")
        self._latest[change.id] = (change.revision, False)

    def _wrong(self, sentence: str) -> None:
        self._findings.wrong("changes", f"The transition {sentence}")

    def standing(self) -> Mapping[str, int]:
        """Of each id that was read and stands, its revision."""
        return {id_: revision for id_, (revision, stands) in self._latest.items() if stands}

    def known(self) -> Collection[str]:
        """Every id that was read."""
        return self._latest.keys()


def check_standing(name: str, told: ChangeHistory, stored: Mapping[str, int], findings: Findings) -> None:
    """The transitions that stand in the database are those that the topic says stand, revision by revision.

    `stored` holds the revision of each id; ids that retention took from the topic must be left out by the caller.
    """
    standing = told.standing()
    findings.count("standing transitions", len(stored))
    for id_, revision in stored.items():
        if standing.get(id_) != revision:
            findings.wrong(
                "standing", f"{name}: {id_}, revision {revision}, stands in the database but not by the topic."
            )
    for id_, revision in standing.items():
        if id_ not in stored:
            findings.wrong(
                "standing", f"{name}: {id_}, revision {revision}, stands by the topic but not in the database."
            )
