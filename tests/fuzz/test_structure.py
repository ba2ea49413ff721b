"""Any JSON whatsoever in the places of a request: each item is stored or kept apart, or all of it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.topics import EVENTS, REJECTED
from tests.fuzz.corpus import CORPUS, Sent
from tests.fuzz.mutators import with_length
from tests.fuzz.options import OPTIONS
from tests.fuzz.target import Asked, Watched, asked

SHARE = 100
"""One example for so many inputs of the other fuzz tests."""

TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(categories=("Cs", "Cc", "Cf", "Mn")), max_size=6),
    st.sampled_from(["", "track", "identify", "group", "ada", "2026-11-03T10:00:00Z", "anon:x", "$identify", "1"]),
)
NUMBERS = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
FIELDS = (
    "type", "event", "userId", "anonymousId", "groupId", "previousId", "messageId", "timestamp", "sentAt", "properties",
    "traits", "context", "integrations", "name", "category", "originalTimestamp", "writeKey", "channel",
)  # fmt: skip
EVENT = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["track", "identify", "page", "screen", "group", "alias"])},
        optional={field: VALUES for field in FIELDS if field != "type"},
    ),
    st.dictionaries(st.one_of(st.sampled_from(FIELDS), TEXTS), VALUES, max_size=8),
    VALUES,
)
ENVELOPE = st.fixed_dictionaries(
    {"batch": st.lists(EVENT, max_size=5)},
    optional={"sentAt": VALUES, "context": VALUES, "integrations": VALUES, "messageId": VALUES, "timestamp": VALUES},
)
BATCH = next(sent for sent in CORPUS if sent.target == b"/v1/batch")
GIVEN = settings(
    max_examples=max(50, OPTIONS.inputs // SHARE),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + OPTIONS.inputs // 100)]


def _post(target: bytes, value: object) -> Sent:
    # Lone surrogates can only be sent escaped.
    return with_length(BATCH._replace(target=target, body=json.dumps(value).encode()))


def _held(ask: Asked, sent: Sent, items: int) -> None:
    """Either all items are on the log, in whichever place, and the answer says so; or none is."""
    ask.records.clear()
    (answer,) = ask([sent])
    assert answer is not None
    stored = ask.records[EVENTS] + ask.records[REJECTED]
    if answer.status == 200:
        assert (answer.body, stored) == (b'{"success": true}', items)
    else:
        assert 400 <= answer.status < 500, answer
        assert stored == 0
        assert json.loads(answer.body)["code"]


def test_every_item_of_any_batch_is_on_the_log_or_the_request_is_refused(target: Watched, tmp_path: Path) -> None:
    with asked(target, tmp_path / "data") as ask:

        @GIVEN
        @given(ENVELOPE)
        def hold(envelope: dict[str, Any]) -> None:
            _held(ask, _post(b"/v1/batch", envelope), len(envelope["batch"]))

        hold()
        assert not target.errors


def test_any_single_event_is_on_the_log_or_the_request_is_refused(target: Watched, tmp_path: Path) -> None:
    with asked(target, tmp_path / "data") as ask:

        @GIVEN
        @given(st.sampled_from([b"/v1/track", b"/v1/i", b"/v1/page", b"/v1/group", b"/v1/a"]), EVENT)
        def hold(path: bytes, event: object) -> None:
            _held(ask, _post(path, event), 1)

        hold()
        assert not target.errors


def test_anything_else_at_all_is_answered_without_an_error_of_the_server(target: Watched, tmp_path: Path) -> None:
    with asked(target, tmp_path / "data") as ask:

        @GIVEN
        @given(st.sampled_from(CORPUS), VALUES)
        def hold(sent: Sent, value: object) -> None:
            (answer,) = ask([with_length(sent._replace(body=json.dumps(value).encode()))])
            assert answer is not None
            assert 200 <= answer.status < 500, answer

        hold()
        assert not target.errors
