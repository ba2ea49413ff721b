"""From an event over HTTP to a mail at a mail server, in the running system."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from schemas.times import DAY, format_instant
from services.bootstrap import Replacements
from services.processes.all_in_one import running_system
from services.runtime.clock import ManualClock
from services.settings import Settings
from tests.integration.notifier.conftest import DEFINITIONS
from tests.integration.notifier.post_office import PostOffice

START = 1_790_000_000_000


def order(customer: str, at: int) -> dict[str, Any]:
    """A first purchase, always with the same id."""
    properties = {"revenue": 5}
    return {
        "type": "track", "userId": customer, "event": "Order Completed", "messageId": f"order-{customer}-{at}",
        "timestamp": format_instant(at), "properties": properties,
    }  # fmt: skip


def identify(customer: str) -> dict[str, Any]:
    """A customer with an address."""
    return {"type": "identify", "userId": customer, "traits": {"email": f"{customer}@example.com", "locale": "fr"}}


async def test_a_purchase_becomes_one_mail_and_years_of_history_none(tmp_path: Path, post_office: PostOffice) -> None:
    settings = Settings(
        port=0, data_dir=tmp_path, definitions_dir=DEFINITIONS, write_key="wk", api_token="pt", settle=0,
        settle_history=0, smtp_url=post_office.url, mail_from="Acme <hello@acme.example>",
    )  # fmt: skip
    clock = ManualClock(START)
    async with (
        running_system(settings, replacements=Replacements(clock=clock)) as system,
        httpx.AsyncClient(base_url=system.address, timeout=10, trust_env=False) as http,
    ):

        async def post(*events: dict[str, Any]) -> None:
            answer = await http.post("/v1/batch", json={"batch": list(events)}, auth=("wk", ""))
            assert answer.status_code == 200

        async def messages(count: int) -> list[dict[str, Any]]:
            while True:
                answer = await http.get("/v1/messages", headers={"Authorization": "Bearer pt"})
                found: list[dict[str, Any]] = answer.json()["messages"]
                if len(found) == count and all(each["outcome"] != "sending" for each in found):
                    return found
                await asyncio.sleep(0.05)

        years = [order("bob", START - days * DAY) for days in (900, 600, 300)]
        await post(identify("bob"), *years)
        await post(identify("ada"), order("ada", START))
        await post(order("ada", START), *years)
        # Each year of the history: bought, at risk, churned; the first also: not engaged. And one welcome.
        found = await messages(3 * 3 + 1 + 1)
        sent = [each for each in found if each["outcome"] == "sent"]
        assert [(each["customer"], each["campaign"], each["channel"]) for each in sent] == [("ada", "welcome", "email")]
        assert {each["reason"] for each in found if each["outcome"] != "sent"} == {"too_old"}
    [mail] = post_office.mails()
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "Bienvenue")
