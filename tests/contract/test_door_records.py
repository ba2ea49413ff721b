"""What the door puts on the topics is what everybody reads there."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import validate

from ingest.domain.admission import Admission
from ingest.domain.parsing import parse_batch
from schemas.ids import partition_of, record_key
from schemas.problems import PROBLEMS
from schemas.records import Record, StoredRecord, read_envelope, record_size
from schemas.topics import EVENTS, REJECTED, ROUTED, TOPICS
from tests.contract.test_published_schemas import published
from tests.unit.ingest.requests import NOW, REQUEST, admission


def stored(record: Record) -> StoredRecord:
    return StoredRecord(record.topic, record.partition, 0, record.key, record.value, record.headers, record.timestamp)


def test_an_accepted_event_is_the_senders_bytes_under_headers_that_say_it_all() -> None:
    body = b'{ "type":"track","event":"Signed In","userId":"ada","messageId":"m1","timestamp":"2026-11-03T09:00:00Z" }'
    (record,) = admission(body).records
    assert (record.topic, record.value, record.timestamp) == (EVENTS, body, NOW)
    envelope = read_envelope(stored(record))
    assert record.headers == envelope.headers()
    assert (envelope.subject, envelope.message_id, envelope.name) == ("user:ada", "m1", "Signed In")
    assert envelope.source == "/sources/shop"
    assert envelope.received_at == NOW


@settings(deadline=None, derandomize=True)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200).filter(lambda text: text.strip()),
    st.sampled_from(["2026-11-03T09:00:00.5Z", "2036-11-03T09:00:00.500Z", "2026-11-03T09:00:00.500+00:00"]),
)
def test_every_record_of_an_event_can_be_read_and_lies_where_kafka_would_put_it(user: str, time: str) -> None:
    event = {"event": "Signed In", "userId": user, "timestamp": time, "context": {"groupId": "acme"}}
    own, account = admission(msgspec.json.encode(event)).records
    assert (own.topic, account.topic) == (EVENTS, ROUTED)
    for record, subject in ((own, f"user:{user}"), (account, "account:acme")):
        assert record.key == record_key("default", subject)
        assert record.partition == partition_of(record.key, 4)
        assert read_envelope(stored(record)).headers() == record.headers
    assert own.value == account.value
    assert read_envelope(stored(own)).message_id == read_envelope(stored(account)).message_id


def test_what_is_kept_apart_carries_its_bytes_and_a_reason_of_the_table() -> None:
    body = b'{ "event":"Signed In" }'
    (record,) = admission(body).records
    assert (record.topic, record.key, record.value) == (REJECTED, b"default", body)
    headers = {name: value.decode() for name, value in record.headers}
    assert headers["ce_reason"] == "no_identity"
    assert headers["ce_detail"] == PROBLEMS["no_identity"].sentence
    assert headers["ce_call"] == "track"
    validate(headers, published("parcours.event.rejected"))
    assert admission(body).records == [record]


def test_events_without_ids_stay_apart_in_a_request_and_together_in_its_retry() -> None:
    event = b'{"type":"track","event":"Signed In","userId":"ada"}'

    def ids(body: bytes) -> list[str]:
        found = Admission(parse_batch(body), REQUEST)
        found.admit()
        return [read_envelope(stored(record)).message_id for record in found.records]

    body = b'{"batch":[%s,%s]}' % (event, event)
    assert len(set(ids(body))) == 2
    assert ids(body) == ids(body)


def test_the_largest_event_fits_its_topics() -> None:
    empty = b'{"event":"%s","userId":"%s","messageId":"%s","context":{"groupId":"%s"},"properties":{"p":"%s"}}'
    fields = (b"x" * 255, b"x" * 512, b"x" * 255, b"x" * 512)
    filled = b"x" * (256 * 1024 - len(empty % (*fields, b"")))
    limits = {topic.name: topic.max_record_bytes for topic in TOPICS}
    records = admission(empty % (*fields, filled)).records
    assert [record.topic for record in records] == [EVENTS, ROUTED]
    for record in (*records, *admission(b'{"p":"%s"}' % (b"x" * (4 * 1024 * 1024 - 8))).records):
        assert record_size(record) <= limits[record.topic]
