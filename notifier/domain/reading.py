"""From records to what the notifier does about them: traits learned, news entered and corrected, progress made."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from notifier.domain.model import Pending, pending_of
from notifier.domain.profiles import Position, traits_of
from schemas.campaigns import Campaign
from schemas.changes import Progress, TrackChange, TrackCorrected
from schemas.ids import record_key
from schemas.processing import DeadLetter
from schemas.records import BadRecord, StoredRecord, header, read_envelope, with_shared_traits
from schemas.times import InvalidTime, parse_instant
from schemas.topics import CONTROL, EVENTS, ROUTED, SEGMENT_CHANGES, STAGE_CHANGES

__all__ = ["INPUTS", "Entered", "Identified", "Progressed", "Reading", "Retraction", "read_records"]

INPUTS: Final = (EVENTS, ROUTED, CONTROL, STAGE_CHANGES, SEGMENT_CHANGES)

_IDENTIFY: Final = b"$identify"
_GROUP: Final = b"$group"
_ACCOUNT: Final = "account:"
_decode_change = msgspec.json.Decoder(TrackChange).decode
_decode_corrected = msgspec.json.Decoder(TrackCorrected).decode
_decode_progress = msgspec.json.Decoder(Progress).decode


class Identified(NamedTuple):
    """Traits that an event gives to a subject."""

    workspace: str
    subject: str
    traits: dict[str, str | None]
    position: Position


class Retraction(NamedTuple):
    """A change that no longer stands, up to `revision`; `replacement` (id, revision) took over its effect, if any."""

    workspace: str
    subject: str
    change_id: str
    revision: int
    effect_id: str
    replacement: tuple[str, int] | None


class Entered(NamedTuple):
    """News of one record: first `retracted` goes, then `added` comes."""

    retracted: tuple[Retraction, ...]
    added: tuple[Pending, ...]

    @property
    def subjects(self) -> set[tuple[str, str]]:
        """Workspace and subject of whom it speaks."""
        return {(each.workspace, each.subject) for each in self.retracted} | {
            (each.workspace, each.subject) for each in self.added
        }


class Progressed(NamedTuple):
    """What the writer of `topic` had read when it had written everything before `offset`; `clock` in ms."""

    topic: str
    offset: int
    offsets: dict[str, int]
    clock: int


class Reading(NamedTuple):
    """What a batch says, in its order, and the records that cannot be read. `received`: its latest event's, or 0."""

    identified: list[Identified]
    steps: list[Entered | Progressed]
    dead_letters: list[DeadLetter]
    received: int


def read_records(records: Iterable[StoredRecord], campaigns: Sequence[Campaign]) -> Reading:
    """Read a batch. A bad record of a topic of changes becomes a dead letter.

    A bad record among the events is passed over: the stage engine, which reads the same ones, keeps it with its reason,
    and once is enough.
    """
    learned: list[Identified] = []
    steps: list[Entered | Progressed] = []
    dead: list[DeadLetter] = []
    received = 0
    for record in records:
        if record.topic in (EVENTS, ROUTED):
            received = max(received, record.timestamp)
            identified = _read_event(record)
            if identified is not None:
                learned.append(identified)
        elif record.topic in (STAGE_CHANGES, SEGMENT_CHANGES):
            try:
                step = _read_step(record, campaigns)
            except (BadRecord, InvalidTime) as error:
                dead.append(DeadLetter(record, "bad_record", str(error)))
            else:
                if step is not None:
                    steps.append(step)
    return Reading(learned, steps, dead, received)


def _read_event(record: StoredRecord) -> Identified | None:
    # Most events say nothing about a profile: their envelope is never read.
    for name, value in record.headers:
        if name == "ce_type":
            if value not in (_IDENTIFY, _GROUP):
                return None
            break
    try:
        envelope = read_envelope(record)
        # An account's copy of a member's `identify` describes the member, not the account.
        wanted = "$group" if envelope.subject.startswith(_ACCOUNT) else "$identify"
        if envelope.name != wanted or record.value is None:
            return None
        traits = traits_of(with_shared_traits(record.value, record.headers))
    except BadRecord:
        return None
    if not traits:
        return None
    sequence = envelope.sequence
    position = Position(envelope.occurred_at, sequence is not None, sequence or 0, envelope.message_id)
    return Identified(envelope.workspace, envelope.subject, traits, position)


def _read_step(record: StoredRecord, campaigns: Sequence[Campaign]) -> Entered | Progressed | None:
    kind = header(record.headers, "ce_type") or ""
    if record.value is None:
        raise BadRecord("The record has no value.")
    try:
        if kind.endswith(".changed"):
            change = _decode_change(record.value)
            _check_key(record, change.workspace, change.subject)
            return Entered((), _set_off(change, record, campaigns))
        if kind.endswith(".corrected"):
            corrected = _decode_corrected(record.value)
            _check_key(record, corrected.workspace, corrected.subject)
            added = tuple(pending for change in corrected.added for pending in _set_off(change, record, campaigns))
            return Entered(_retractions(corrected), added)
        if kind.endswith(".progress"):
            progress = _decode_progress(record.value)
            return Progressed(record.topic, record.offset, progress.offsets, parse_instant(progress.clock))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecord(f"The record is no {kind}: {error}") from error
    raise BadRecord("The record's type is none of its topic's.")


def _check_key(record: StoredRecord, workspace: str, subject: str) -> None:
    if record.key != record_key(workspace, subject):
        raise BadRecord("The record's key names another subject than its data.")


def _set_off(change: TrackChange, record: StoredRecord, campaigns: Sequence[Campaign]) -> tuple[Pending, ...]:
    segment = record.topic == SEGMENT_CHANGES
    return tuple(
        pending_of(change, campaign, record.topic, record.offset)
        for campaign in campaigns
        if campaign.set_off_by(change, segment=segment)
    )


def _retractions(corrected: TrackCorrected) -> tuple[Retraction, ...]:
    replaced = {change.effect_id: (change.id, change.revision) for change in corrected.added}
    return tuple(
        Retraction(
            workspace=change.workspace,
            subject=change.subject,
            change_id=change.id,
            revision=change.revision,
            effect_id=change.effect_id,
            replacement=replaced.get(change.effect_id),
        )
        for change in corrected.retracted
    )
