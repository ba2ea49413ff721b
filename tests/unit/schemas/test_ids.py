"""Subjects, record keys and partitions."""

import pytest
from aiokafka.partitioner import murmur2 as kafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import (
    InvalidId,
    account_subject,
    anonymous_subject,
    display_id,
    murmur2,
    parse_customer_id,
    partition_of,
    record_key,
    split_key,
    user_subject,
)


@given(st.binary(max_size=200))
def test_murmur2_answers_what_kafka_answers(data: bytes) -> None:
    assert murmur2(data) == kafka_murmur2(data) & 0xFFFFFFFF


@given(st.binary(min_size=1, max_size=60), st.integers(1, 64))
def test_a_key_always_has_the_same_partition_within_range(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == partition_of(bytes(bytearray(key)), partitions)
    assert 0 <= partition_of(key, partitions) < partitions


@pytest.mark.parametrize("identifier", ["u-42", "user:odd", "../../x", "a:b|c", "%00", "' OR 1=1--", "é 漢字"])
def test_a_record_key_gives_back_workspace_and_subject(identifier: str) -> None:
    assert split_key(record_key("default", user_subject(identifier))) == ("default", f"user:{identifier}")


@pytest.mark.parametrize("identifier", ["", " ", "a\x00b", "line\nbreak", "\x1f", "x" * 513, "\ud800", "\x85"])
def test_an_id_that_cannot_be_printed_or_is_too_long_is_refused(identifier: str) -> None:
    for subject in (user_subject, anonymous_subject, account_subject):
        with pytest.raises(InvalidId):
            subject(identifier)


@pytest.mark.parametrize(
    "key", [b"", b"default", b"default\x1f", b"\x1fuser:1", b"default\x1fsomebody", b"\xff\x1fuser:1"]
)
def test_a_key_of_another_shape_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidId):
        split_key(key)


@pytest.mark.parametrize(
    ("given_id", "subject", "shown"),
    [
        ("u-42", "user:u-42", "u-42"),
        ("user:u-42", "user:u-42", "u-42"),
        ("anon:7f", "anon:7f", "anon:7f"),
        ("account:acme", "account:acme", "account:acme"),
        ("user:anon:7f", "user:anon:7f", "user:anon:7f"),
    ],
)
def test_an_api_id_names_one_subject_and_is_shown_so_that_it_can_be_asked_again(
    given_id: str, subject: str, shown: str
) -> None:
    assert parse_customer_id(given_id) == subject
    assert display_id(subject) == shown
    assert parse_customer_id(shown) == subject
