"""The homes of time and chance."""

import uuid

from services.runtime.clock import ManualClock, SystemClock
from services.runtime.ids import RandomIds


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(1_000)
    assert (clock.now(), clock.now()) == (1_000, 1_000)
    assert clock.move(500) == 1_500
    clock.set(7)
    assert clock.now() == 7


def test_the_system_clock_is_in_milliseconds_and_its_counter_never_goes_back() -> None:
    clock = SystemClock()
    assert 1_700_000_000_000 < clock.now() < 4_102_444_800_000
    first, second = clock.monotonic(), clock.monotonic()
    assert first <= second


def test_uuids_are_version_7_carry_their_time_and_differ() -> None:
    ids = RandomIds(lambda: 0x0190_0000_0001)
    drawn = [uuid.UUID(ids.uuid7()) for _ in range(200)]
    assert len(set(drawn)) == 200
    assert {(each.version, each.variant) for each in drawn} == {(7, uuid.RFC_4122)}
    assert {each.int >> 80 for each in drawn} == {0x0190_0000_0001}


def test_secrets_are_long_and_safe_in_a_url() -> None:
    ids = RandomIds(lambda: 0)
    first, second = ids.secret(), ids.secret()
    assert first != second
    assert len(first) == 32
    assert first.replace("-", "").replace("_", "").isalnum()
