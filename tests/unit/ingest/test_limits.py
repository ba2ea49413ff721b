"""Limits: what may come from one key and from one address, however it is spread over time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.limiting import REMEMBERED, Rate, TokenLimits
from ingest.ports import Source

SHOP = Source("default", "shop")
ELSEWHERE = Source("default", "app")
AMPLE = Rate(1_000_000, 1_000_000)


class Seconds:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def test_what_is_used_up_comes_back_with_time(seconds: Seconds) -> None:
    limits = TokenLimits(seconds, Rate(8, 30), AMPLE)
    assert limits.admit(SHOP, "192.0.2.1", 30) is None
    assert limits.admit(SHOP, "192.0.2.1", 1) == 1
    seconds.now += 0.125
    assert limits.admit(SHOP, "192.0.2.1", 1) is None
    assert limits.admit(SHOP, "192.0.2.1", 1) == 1
    seconds.now += 3_600
    assert limits.admit(SHOP, "192.0.2.1", 30) is None
    assert limits.admit(SHOP, "192.0.2.1", 1) == 1


def test_a_batch_greater_than_the_burst_passes_and_is_paid_for_afterwards(seconds: Seconds) -> None:
    limits = TokenLimits(seconds, Rate(100, 50), AMPLE)
    assert limits.admit(SHOP, "192.0.2.1", 450) is None
    assert limits.admit(SHOP, "192.0.2.1", 1) == 4
    seconds.now += 4
    assert limits.admit(SHOP, "192.0.2.1", 1) == 1
    seconds.now += 0.01
    assert limits.admit(SHOP, "192.0.2.1", 1) is None


def test_nobody_is_told_to_wait_longer_than_an_sdk_does(seconds: Seconds) -> None:
    limits = TokenLimits(seconds, Rate(1, 1), AMPLE)
    assert limits.admit(SHOP, "192.0.2.1", 10_000) is None
    assert limits.admit(SHOP, "192.0.2.1", 1) == 10


def test_a_refusal_takes_nothing_from_anybody(seconds: Seconds) -> None:
    limits = TokenLimits(seconds, Rate(1, 10), Rate(1, 10))
    assert limits.admit(SHOP, "192.0.2.1", 10) is None
    assert limits.admit(SHOP, "192.0.2.2", 10) == 1, "the key is used up"
    assert limits.admit(ELSEWHERE, "192.0.2.1", 10) == 1, "the address is used up"
    assert limits.admit(ELSEWHERE, "192.0.2.2", 10) is None


def test_keys_sources_and_workspaces_have_limits_of_their_own(seconds: Seconds) -> None:
    limits = TokenLimits(seconds, Rate(1, 1), AMPLE)
    for source in (SHOP, ELSEWHERE, SHOP._replace(workspace="other"), SHOP._replace(key="second")):
        assert limits.admit(source, "192.0.2.1", 1) is None
        assert limits.admit(source, "192.0.2.1", 1) == 1


def test_a_source_may_have_limits_of_its_own_and_they_change_at_once(seconds: Seconds) -> None:
    limits = TokenLimits(seconds, Rate(1, 1), AMPLE)
    assert limits.admit(SHOP._replace(burst=100), "192.0.2.1", 60) is None
    assert limits.admit(SHOP._replace(burst=5), "192.0.2.1", 5) is None, "what is left, at most the new burst"
    assert limits.admit(SHOP._replace(burst=5), "192.0.2.1", 1) == 1
    seconds.now += 1
    assert limits.admit(SHOP._replace(events_per_second=50), "192.0.2.1", 1) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("no:address", "no:other", False),
        ("", "", True),
    ],
)
def test_an_address_counts_with_its_network(seconds: Seconds, one: str, other: str, same: bool) -> None:
    limits = TokenLimits(seconds, AMPLE, Rate(1, 1))
    assert limits.admit(None, one, 1) is None
    assert (limits.admit(None, other, 1) is not None) == same


def test_a_flood_of_addresses_does_not_fill_the_memory(seconds: Seconds) -> None:
    limits = TokenLimits(seconds, AMPLE, Rate(1, 1))
    assert limits.admit(None, "192.0.2.1", 1) is None
    for number in range(REMEMBERED - 1):
        assert limits.admit(None, f"host-{number}", 1) is None
    assert limits.admit(None, "192.0.2.1", 1) == 1, "still remembered"
    assert limits.admit(None, "one more", 1) is None
    assert limits.admit(None, "host-0", 1) is None, "forgotten: it was seen before all others"
    assert limits.admit(None, "192.0.2.1", 1) == 1
    assert len(limits._addresses._buckets) == REMEMBERED


@given(
    tries=st.lists(st.tuples(st.floats(0, 5, allow_nan=False), st.integers(1, 10_000), st.integers(0, 3)), max_size=60)
)
def test_over_any_time_no_more_passes_than_burst_rate_and_one_request(
    tries: list[tuple[float, int, int]],
) -> None:
    seconds = Seconds()
    rate = Rate(100, 1_000)
    limits = TokenLimits(seconds, rate, AMPLE)
    passed, began = 0, seconds.now
    for pause, events, address in tries:
        seconds.now += pause
        if limits.admit(SHOP, f"192.0.2.{address}", events) is None:
            passed += events
    assert passed <= rate.burst + (seconds.now - began) * rate.events_per_second + 10_000 + 1e-3
