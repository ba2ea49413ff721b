"""Traits that a sender says once for a whole batch are traits of each customer who is identified in it."""

import json

import pytest

from notifier.domain import reading as notifier
from schemas.ids import record_key
from schemas.records import ENVELOPE, StoredRecord, cloud_event_headers
from schemas.topics import EVENTS
from tracks.reading import read_event

NOW = 1_795_358_000_000
SHARED = b'{"context":{"traits":{"plan":"pro","email":"shared@example.com","name":"Shared"},"ip":"::1"}}'
OWN = b'{"context":{"traits":{"name":"Own","n":1.50}},"traits":{"email":"ada@example.com"},"x":1e3}'


def record(body: bytes, envelope: bytes | None, name: str = "$identify") -> StoredRecord:
    """A record of the door."""
    headers = cloud_event_headers("m-1", name, "/sources/shop", NOW, "user:ada")
    if envelope is not None:
        headers = (*headers, (ENVELOPE, envelope))
    return StoredRecord(EVENTS, 0, 0, record_key("default", "user:ada"), body, headers, NOW)


def test_the_engines_and_the_notifier_know_them_and_the_events_own_win() -> None:
    found = record(OWN, SHARED)
    arrival = read_event(found)
    assert arrival.event.content() == {"plan": "pro", "name": "Own", "n": 1.5, "email": "ada@example.com"}
    assert json.loads(arrival.row.body)["traits"] == {"email": "ada@example.com"}
    assert b'"n":1.50' in arrival.row.body, "as it was sent"
    assert b'"x":1e3' in arrival.row.body, "as it was sent"
    (learned,) = notifier.read_records([found], []).identified
    assert learned.traits == {"name": "Own", "email": "ada@example.com"}


@pytest.mark.parametrize("body", [b"{}", b'{"context":null}', b'{"context":{"traits":null}}', b'{"traits":null}'])
def test_they_count_where_the_event_has_none(body: bytes) -> None:
    found = record(body, SHARED)
    assert read_event(found).event.content()["plan"] == "pro"
    (learned,) = notifier.read_records([found], []).identified
    assert learned.traits == {"name": "Shared", "email": "shared@example.com"}


@pytest.mark.parametrize(
    "envelope",
    [
        None, b"", b"null", b"{}", b'{"context":{}}', b'{"context":{"traits":{}}}', b'{"context":{"traits":[1]}}',
        b'{"context":3}', b"\xff", b'{"integrations":{"All":false}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_without_them_the_event_is_as_it_was_sent(envelope: bytes | None) -> None:
    assert read_event(record(OWN, envelope)).row.body is OWN
    assert len(notifier.read_records([record(OWN, envelope)], []).identified) == 1


def test_other_events_are_as_they_were_sent() -> None:
    assert read_event(record(OWN, SHARED, "Order Completed")).row.body is OWN
