"""A fresh system of either shape, run inside the test's process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.bootstrap import make_container, migrate
from services.runtime.verification import Findings
from services.settings import Settings
from services.verify import verify
from tests.support.services import CHECKOUT

__all__ = ["SHAPES", "fresh_settings", "verified"]

SHAPES = [
    pytest.param("embedded", id="embedded"),
    pytest.param("cluster", id="cluster", marks=[pytest.mark.kafka, pytest.mark.postgres]),
]


async def fresh_settings(request: pytest.FixtureRequest, folder: Path) -> Settings:
    """Settings of a fresh system of the shape `request.param`; topics and tables of the cluster are made."""
    settings = Settings(
        port=0,
        data_dir=folder / "data",
        definitions_dir=CHECKOUT / "definitions",
        write_key="wk",
        api_token="pt",
        settle=0,
        settle_history=0,
    )
    if request.param == "cluster":
        fresh: Callable[[], str] = request.getfixturevalue("fresh_database")
        settings = replace(
            settings,
            database_url=fresh(),
            kafka_bootstrap_servers=request.getfixturevalue("kafka_server").bootstrap_servers,
            topic_prefix=request.getfixturevalue("kafka_prefix"),
        )
        container = make_container(settings)
        await container.log.start()
        await migrate(container)
        await container.log.close()
        container.close()
    return settings


async def verified(settings: Settings) -> Findings:
    """What `parcours verify` finds in a system that is stopped; events may be as young as they like."""
    container = make_container(settings)
    await container.log.start()
    findings = await verify(container, 0)
    await container.log.close()
    container.close()
    return findings
