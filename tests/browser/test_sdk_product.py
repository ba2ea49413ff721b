"""A page with Segment's SDK in front of the whole product: what a visitor does there makes a customer."""

import asyncio
from pathlib import Path
from typing import Final

import httpx
import pytest

from services.processes.system import running_system
from services.settings import Settings
from tests.support.node import node_clients
from tests.support.shops import Tab, open_tab
from tests.unit.demo.models import DEFAULT

__all__ = ["node_clients"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

KEY: Final = "wk_of_the_page"
TOKEN: Final = "pt_of_the_page"
PATIENCE: Final = 30
LIVE: Final = """
    async ([writeKey, cdnURL]) => {
        const analytics = AnalyticsNext.AnalyticsBrowser.load({ writeKey, cdnURL })
        await analytics.page('shop', 'Start')
        await analytics.identify('ada', { email: 'ada@example.com' })
        await analytics.track('Order Completed', { revenue: 42.5 })
    }
"""


async def test_a_key_and_a_host_in_a_page_are_enough_to_follow_its_visitors(tmp_path: Path, node_clients: Path) -> None:
    settings = Settings(
        port=0,
        data_dir=tmp_path,
        definitions_dir=DEFAULT.parents[1],
        write_key=KEY,
        api_token=TOKEN,
        settle=100,
        settle_history=100,
    )
    scripts = node_clients / "node_modules/@segment/analytics-next/dist/umd"
    bearer = {"authorization": f"Bearer {TOKEN}"}
    async with (
        running_system(settings) as system,
        open_tab(scripts, lambda page, address: Tab(page, address, system.address)) as tab,
        httpx.AsyncClient(base_url=system.address, headers=bearer, trust_env=False) as client,
        asyncio.timeout(PATIENCE),
    ):
        await tab.visit()
        await tab.page.evaluate(LIVE, [KEY, system.address])
        while (await client.get("/v1/customers/ada")).status_code != 200:  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.1)
        customer = (await client.get("/v1/customers/ada")).json()
        assert customer["traits"] == {"email": "ada@example.com"}
        assert tab.paths(tab.preflights) == {"/v1/p", "/v1/i", "/v1/t"}
