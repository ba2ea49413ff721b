"""Records, their CloudEvents headers, and what is wrong with a bad one."""

import msgspec
import pytest

from schemas.ids import record_key
from schemas.records import BadRecord, EventEnvelope, Record, StoredRecord, header, read_envelope, record_size
from schemas.topics import EVENTS, TOPICS, topic_table


def envelope() -> EventEnvelope:
    """An envelope that uses every field."""
    return EventEnvelope(
        workspace="default",
        subject="user:ada",
        message_id="m-1",
        name="Order Completed",
        occurred_at=1_700_000_000_123,
        received_at=1_700_000_001_000,
        source="/sources/shop",
        sequence=7,
        flags=("clock_skew", "old"),
    )


def stored(sent: EventEnvelope) -> StoredRecord:
    """The record of an envelope as it is read from the log."""
    key = record_key(sent.workspace, sent.subject)
    return StoredRecord(EVENTS, 0, 12, key, b"{}", sent.headers(), sent.received_at)


def test_an_envelope_survives_the_log() -> None:
    assert read_envelope(stored(envelope())) == envelope()


def test_an_envelope_without_options_has_only_the_required_headers() -> None:
    plain = msgspec.structs.replace(envelope(), sequence=None, flags=())
    assert [name for name, _ in plain.headers()] == [
        "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject", "content-type",
    ]  # fmt: skip
    assert read_envelope(stored(plain)) == plain


@pytest.mark.parametrize("missing", ["ce_id", "ce_type", "ce_source", "ce_time"])
def test_a_missing_header_is_named(missing: str) -> None:
    record = stored(envelope())
    bare = msgspec.structs.replace(record, headers=tuple(h for h in record.headers if h[0] != missing))
    with pytest.raises(BadRecord, match=missing):
        read_envelope(bare)


def test_a_record_without_key_value_or_readable_headers_is_bad() -> None:
    record = stored(envelope())
    broken = (("ce_id", b"\xff"), *(h for h in record.headers if h[0] != "ce_id"))
    for bad in (
        msgspec.structs.replace(record, key=None),
        msgspec.structs.replace(record, value=None),
        msgspec.structs.replace(record, key=b"nonsense"),
        msgspec.structs.replace(record, headers=broken),
    ):
        with pytest.raises(BadRecord):
            read_envelope(bad)
    with pytest.raises(BadRecord):
        header(broken, "ce_id")


def test_the_size_of_a_record_counts_key_value_headers_and_overhead() -> None:
    record = Record(EVENTS, 0, b"abc", b"12345", (("n", b"vv"),), 0)
    assert record_size(record) == 70 + 3 + 5 + 3


def test_every_topic_is_named_once_and_the_retention_of_events_is_a_setting() -> None:
    assert len({spec.name for spec in TOPICS}) == len(TOPICS) == 8
    changed = {spec.name for spec, base in zip(topic_table(1_000), TOPICS, strict=True) if spec != base}
    assert changed == {"parcours.events", "parcours.rejected"}
