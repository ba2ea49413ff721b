"""The loop that every fuzz test watches."""

from collections.abc import Iterator

import pytest

from tests.fuzz.target import Watched, watched


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """A loop of the test's own."""
    with watched(monkeypatch) as found:
        yield found
