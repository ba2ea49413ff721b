"""Records, their CloudEvents headers, and what is wrong with a bad one."""

import msgspec
import pytest

from schemas.ids import record_key
from schemas.records import (
    BadRecord,
    EventEnvelope,
    Record,
    StoredRecord,
    header,
    message_id_of,
    read_envelope,
    record_size,
)
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


@pytest.mark.parametrize("source", ["/sources/shop", "/parcours/stage_engine"])
def test_an_event_of_our_own_sources_is_known_by_its_id_alone(source: str) -> None:
    sent = msgspec.structs.replace(envelope(), source=source)
    assert read_envelope(stored(sent)).message_id == "m-1"


def test_cloud_events_of_two_producers_that_both_count_one_two_three_are_two_events() -> None:
    sources = ["https://shop.example/orders", "https://shop.example/carts"]
    found = [read_envelope(stored(msgspec.structs.replace(envelope(), source=source))) for source in sources]
    assert [each.message_id for each in found] == [f"{source}#m-1" for source in sources]
    assert message_id_of("urn:a", "cloudevent-1") != message_id_of("urn:b", "cloudevent-1")


@pytest.mark.parametrize("event_id", ["42", "x" * 255, "", "é" * 200, "cloudevent-1"])
@pytest.mark.parametrize("source", ["urn:shop", "https://example.com/" + "s" * 1_000, "/sources/shop"])
def test_a_message_id_fits_the_tables_and_stays_as_it_is_when_read_again(source: str, event_id: str) -> None:
    once = message_id_of(source, event_id)
    assert len(once) <= 255
    assert bool(once) is bool(event_id)
    assert message_id_of(source, once) == once


def test_the_size_of_a_record_counts_key_value_headers_and_overhead() -> None:
    record = Record(EVENTS, 0, b"abc", b"12345", (("n", b"vv"),), 0)
    assert record_size(record) == 70 + 3 + 5 + 3


def test_every_topic_is_named_once_and_the_retention_of_events_is_a_setting() -> None:
    assert len({spec.name for spec in TOPICS}) == len(TOPICS) == 8
    changed = {spec.name for spec, base in zip(topic_table(1_000), TOPICS, strict=True) if spec != base}
    assert changed == {"parcours.events", "parcours.rejected"}
