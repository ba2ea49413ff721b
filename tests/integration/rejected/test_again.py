"""A redriven event is the event that it would have been: the same records, made from what was kept of it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.domain.admission import Admission
from ingest.domain.judging import Request
from ingest.domain.parsing import UNREAD, Body, Envelope, parse_batch, read_event
from ingest.errors import Unacceptable
from ingest.ports import Source
from schemas.ids import record_key
from schemas.processing import DeadLetter
from schemas.records import BadRecord, Record, StoredRecord, cloud_event_headers, read_envelope
from schemas.topics import EVENTS, REJECTED, ROUTED, STAGE_CHANGES
from services.redrive import NotRedrivable, again, original
from services.runtime.transact import rejected_output
from tests.unit.ingest.requests import NOW, REQUEST

TRACE = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)


class Strict:
    """A plan that knows no event."""

    def check(self, source: Source, name: str, event: Mapping[str, Any], received_at: int) -> tuple[str, ...]:
        raise Unacceptable("unknown_event")


def stored(record: Record) -> StoredRecord:
    return StoredRecord(record.topic, record.partition, 0, record.key, record.value, record.headers, record.timestamp)


def said(body: Body, request: Request) -> Request:
    """The request as the door tells the judge of it."""
    kept, dropped = body.envelope.kept, body.envelope.dropped
    headers = TRACE if kept is None else (*TRACE, ("parcours_envelope", kept))
    flags = ("envelope_dropped",) if dropped else ()
    return request._replace(context=body.envelope.context, headers=headers, flags=flags, suspicious=body.suspicious)


def admitted(body: Body, request: Request, plan: Any = None) -> list[Record]:
    found = Admission(body, request, plan)
    while found.admit():
        continue
    return found.records


def through_redrive(record: Record, request: Request) -> list[Record]:
    """What is made of a rejected record in the place of its event."""
    raw, asked = again(stored(record), request.source, request.partitions, request.max_event)
    body = Body((raw,), Envelope(), asked.suspicious, UNREAD)
    if len(raw) <= asked.max_event:
        body = body._replace(event=read_event(raw))
    return admitted(body, asked)


ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(lambda text: text.strip())
times = st.sampled_from(["2026-11-03T09:00:00Z", "2026-11-03T09:00:00.123456+05:30", "2020-01-01T00:00:00Z"])
events = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "page", "identify"]), "event": ids, "userId": ids},
    optional={
        "messageId": ids,
        "timestamp": times,
        "sentAt": times,
        "context": st.fixed_dictionaries({}, optional={"groupId": ids}),
        "properties": st.dictionaries(ids, st.integers() | st.text(max_size=9) | st.none(), max_size=3),
    },
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "sentAt": times,
        "context": st.fixed_dictionaries({}, optional={"groupId": ids | st.integers(0, 9), "locale": ids}),
        "integrations": st.just({"All": True}),
    },
)


@settings(deadline=None, derandomize=True)
@given(st.lists(events, min_size=1, max_size=4, unique_by=json.dumps), envelopes, st.booleans(), st.none() | times)
def test_what_was_kept_of_an_event_makes_the_records_that_it_would_have_made(
    batch: list[dict[str, Any]], envelope: dict[str, Any], retry: bool, sent_at: str | None
) -> None:
    body = parse_batch(json.dumps({"batch": batch, **envelope}).encode())
    asked = said(body, REQUEST)._replace(
        call=None, retry=retry, trust_sent_at=False, sent_at=None if sent_at is None else NOW - 5
    )
    rejected = admitted(body, asked, Strict())
    assert {record.topic for record in rejected} == {REJECTED}
    assert [record for each in rejected for record in through_redrive(each, asked)] == admitted(body, asked)


def test_of_a_dropped_envelope_the_group_remains_and_the_flag_says_so() -> None:
    event = {"type": "track", "event": "Signed In", "userId": "ada", "messageId": "m"}
    context = {"groupId": "acme", "long": "x" * 6_000}
    body = parse_batch(json.dumps({"batch": [{**event, "n": n} for n in range(900)], "context": context}).encode())
    assert body.envelope.dropped
    asked = said(body, REQUEST)._replace(call=None, trust_sent_at=False)
    (kept, *_) = admitted(body, asked, Strict())
    assert through_redrive(kept, asked) == admitted(body, asked)[:2]


def test_an_event_that_was_too_large_fits_once_more_is_allowed() -> None:
    raw = json.dumps({"type": "page", "userId": "ada", "properties": {"p": "x" * 3_000}}).encode()
    body = Body((raw,), Envelope(), True, UNREAD)
    small, ample = REQUEST._replace(max_event=2_000), REQUEST._replace(max_event=4_000)
    (rejected,) = admitted(body, small)
    assert rejected.topic == REJECTED
    assert through_redrive(rejected, small)[0].topic == REJECTED
    (record,) = through_redrive(rejected, ample)
    assert (record.topic, record.value, record.timestamp) == (EVENTS, raw, NOW)


def given_up(topic: str, headers: tuple[tuple[str, bytes], ...], key: bytes | None) -> StoredRecord:
    """What a processor writes about a record that it gives up."""
    letter = DeadLetter(StoredRecord(topic, 1, 12, key, b"{}", headers, NOW - 9), "bad_record", "It is bad.")
    output = rejected_output("stage_engine", letter, NOW)
    own = (("processor", b"stage_engine"), ("partition", b"1"), ("sequence", b"7"))
    return StoredRecord(output.topic, 1, 3, output.key, output.value, (*output.headers, *own), output.timestamp)


@pytest.mark.parametrize("topic", [EVENTS, ROUTED])
def test_what_a_processor_gave_up_is_appended_as_it_stood(topic: str) -> None:
    headers = cloud_event_headers("m-1", "Signed In", "/sources/shop", NOW, "user:ada")
    relayed = (("processor", b"stage_engine"), ("partition", b"2"), ("sequence", b"99"))
    key = record_key("default", "user:ada")
    made = original(given_up(topic, (*headers, *relayed), key), 4)
    assert (made.topic, made.key, made.value, made.headers, made.timestamp) == (topic, key, b"{}", headers, NOW - 9)
    assert read_envelope(stored(made)).message_id == "m-1"


def test_what_would_be_given_up_again_is_not_appended() -> None:
    headers = cloud_event_headers("m-1", "Signed In", "/sources/shop", NOW, "user:ada")
    key = record_key("default", "user:ada")
    for broken in (given_up(EVENTS, headers[1:3], key), given_up(EVENTS, headers, None), given_up(EVENTS, (), b"")):
        with pytest.raises(BadRecord):
            original(broken, 4)


def test_what_no_door_ever_took_in_is_left_alone() -> None:
    headers = cloud_event_headers("m-1", "parcours.stage.changed", "/processors/stage_engine", NOW, "user:ada")
    with pytest.raises(NotRedrivable):
        original(given_up(STAGE_CHANGES, headers, record_key("default", "user:ada")), 4)
