"""The window in which a repeated id is known for free: what it finds, what it forgets, and what it weighs."""

import gc
import tracemalloc
from typing import Any

import pytest

from ingest.domain.recent import GENERATION, Fingerprint, Recent, fingerprint


def of(message_id: str, body: bytes = b"{}", **other: Any) -> Fingerprint:
    named: dict[str, Any] = {"workspace": "default", "subject": "user:ada", "name": "Signed In", **other}
    return fingerprint(named["workspace"], named["subject"], message_id, named["name"], body)


def test_an_acknowledged_event_is_known_by_its_id_and_told_from_another_under_it() -> None:
    recent = Recent()
    assert recent.find(of("m1")) is None
    recent.add(of("m1", b'{"a":1,"sentAt":"x"}'))
    assert recent.find(of("m1", b'{"sentAt":"y", "a":1}')) == "same"
    assert recent.find(of("m1", b'{"a":2}')) == "other"
    assert recent.find(of("m1", b'{"a":1}', name="Signed Up")) == "other"


@pytest.mark.parametrize("other", [{"workspace": "other"}, {"subject": "user:bob"}])
def test_one_id_in_another_workspace_or_of_another_customer_is_another_event(other: dict[str, Any]) -> None:
    recent = Recent()
    recent.add(of("m1"))
    assert recent.find(of("m1", **other)) is None


def test_the_first_content_of_an_id_stands() -> None:
    recent = Recent()
    recent.add(of("m1", b"1"))
    recent.add(of("m1", b"2"))
    assert recent.find(of("m1", b"1")) == "same"


def test_the_window_holds_one_to_two_generations() -> None:
    recent = Recent(generation=10)
    for number in range(25):
        recent.add(of(str(number)))
    known = [number for number in range(25) if recent.find(of(str(number)))]
    assert known == list(range(10, 25))
    recent.add(of("12"))
    assert recent.find(of("10")) == "same"


@pytest.mark.timeout(60)
def test_a_full_window_stays_below_eight_megabytes() -> None:
    recent = Recent()
    prints = (of(str(number)) for number in range(2 * GENERATION))
    gc.collect()
    tracemalloc.start()
    for each in prints:
        recent.add(each)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(recent.find(of(str(number))) == "same" for number in range(2 * GENERATION))
    assert size < 8_000_000
