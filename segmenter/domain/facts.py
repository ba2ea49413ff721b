"""Stages of lifecycles as facts in the set of a subject: what a change puts in, and what a correction takes out."""

from collections.abc import Iterable

import msgspec

from behavior import Definition
from schemas.changes import TrackChange, TrackCorrected
from schemas.ids import record_key
from schemas.language_types import FACT_PREFIX
from schemas.records import BadRecord, StoredRecord, header
from schemas.times import InvalidTime, parse_instant
from tracks.domain.rows import ActivityRow

__all__ = ["FactRows", "consulted_facts", "fact_id", "read_facts"]

_SOURCE = "/parcours/stage_engine"
_encode = msgspec.json.Encoder().encode
_decode_change = msgspec.json.Decoder(TrackChange).decode
_decode_corrected = msgspec.json.Decoder(TrackCorrected).decode


class FactRows(msgspec.Struct, frozen=True):
    """Rows to put into the activity, and message ids to take out of it first."""

    added: tuple[ActivityRow, ...] = ()
    withdrawn: tuple[str, ...] = ()


_NOTHING = FactRows()


def consulted_facts(definitions: Iterable[Definition]) -> frozenset[str]:
    """The names of the facts that definitions consult: ``$stage:<lifecycle>``."""
    return frozenset(name for each in definitions for name in each.plans if name.startswith(FACT_PREFIX))


def fact_id(change_id: str) -> str:
    """The message id of the fact that a change is."""
    return f"$stage:{change_id}"


def read_facts(record: StoredRecord, consulted: frozenset[str]) -> FactRows:
    """The facts that a record of stage changes adds and takes out, as far as they are `consulted`.

    Raises `BadRecord` when it has not the shape that its type promises.
    """
    kind = header(record.headers, "ce_type") or ""
    if not consulted or kind.endswith(".progress"):
        return _NOTHING
    if record.value is None:
        raise BadRecord("The record has no value.")
    try:
        if kind.endswith(".changed"):
            change = _decode_change(record.value)
            _check_key(record, change.workspace, change.subject)
            return FactRows(_rows(record, (change,), consulted))
        if kind.endswith(".corrected"):
            corrected = _decode_corrected(record.value)
            _check_key(record, corrected.workspace, corrected.subject)
            gone = [fact_id(each.id) for each in corrected.retracted if FACT_PREFIX + each.lifecycle in consulted]
            return FactRows(_rows(record, corrected.added, consulted), tuple(gone))
    except (msgspec.DecodeError, RecursionError, InvalidTime) as error:
        raise BadRecord(f"The record is no {kind}: {error}") from error
    raise BadRecord("The record's type is none of its topic's.")


def _check_key(record: StoredRecord, workspace: str, subject: str) -> None:
    if record.key != record_key(workspace, subject):
        raise BadRecord("The record's key names another subject than its data.")


def _rows(record: StoredRecord, changes: Iterable[TrackChange], consulted: frozenset[str]) -> tuple[ActivityRow, ...]:
    return tuple(
        ActivityRow(
            workspace=change.workspace,
            subject=change.subject,
            message_id=fact_id(change.id),
            partition=record.partition,
            occurred_at=parse_instant(change.effective_at),
            # Several changes of one track at one instant: the last of them is where the subject stands.
            sequence=change.ordinal,
            received_at=record.timestamp,
            name=FACT_PREFIX + change.lifecycle,
            source=_SOURCE,
            body=_encode({"properties": {"track": change.track, "stage": change.to}}),
            flags="",
        )
        for change in changes
        if FACT_PREFIX + change.lifecycle in consulted
    )
