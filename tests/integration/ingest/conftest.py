"""A running door for each test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.ingest.native_serving import NativeServed, native_serving
from tests.integration.ingest.serving import Served, serving
from tests.support.node import node_clients

__all__ = ["node_clients"]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A running door with an event log of its own."""
    async with serving(tmp_path) as found:
        yield found


@pytest.fixture
async def native(tmp_path: Path) -> AsyncIterator[NativeServed]:
    """A running door with the native route."""
    async with native_serving(tmp_path) as found:
        yield found
