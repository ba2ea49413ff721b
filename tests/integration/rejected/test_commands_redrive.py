"""`parcours redrive`: a client of the running server, which says what became of what."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import EVENTS
from services.cli import main
from tests.integration.rejected.conftest import Shape

pytestmark = pytest.mark.parametrize("shape", ["embedded"], indirect=True)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is started in some folder, with a token in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARCOURS_API_TOKEN", "pt")


async def redrive(address: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Run the command beside the server; its exit code, and what it printed as JSON, or its complaint."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["redrive", "--url", address, "--json", *arguments])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if printed.out else printed.err


async def test_it_says_what_would_become_of_them_and_then_does_it(
    shape: Shape, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.commands_redrive._AT_ONCE", 2)
    async with shape.running() as client:
        address = client.system.address
        await client.mode("strict")
        for number in range(5):
            await client.post("/v1/track", {"event": "Teapot Boiled", "userId": f"u-{number}"})
        await client.post("/v1/track", {"event": "Teapot Boiled"})
        await client.mode("open")
        wanted = {"accepted": 5, "rejected": {"no_identity": 1}, "skipped": {}}
        assert await redrive(address, capsys, "--dry-run") == (0, {"dry_run": True, **wanted})
        assert await client.records(EVENTS) == []
        assert await redrive(address, capsys, "--reason", "invalid_json") == (
            0, {"dry_run": False, "accepted": 0, "rejected": {}, "skipped": {}}
        )  # fmt: skip
        assert await redrive(address, capsys) == (0, {"dry_run": False, **wanted})
        assert len(await client.records(EVENTS)) == 5
        assert (await redrive(address, capsys))[1]["accepted"] == 0


async def test_people_read_a_line_for_each_outcome(shape: Shape, capsys: pytest.CaptureFixture[str]) -> None:
    async with shape.running() as client:
        address = client.system.address
        await client.post("/v1/track", {"event": "Signed In"})
        code = await asyncio.to_thread(main, ["redrive", "--url", address])
        assert code == 0
        assert capsys.readouterr().out.split() == ["0", "accepted", "1", "still", "rejected:", "no_identity"]


async def test_what_keeps_it_from_working_is_one_sentence_with_a_code(
    shape: Shape, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shape.running() as client:
        address = client.system.address
        code, complaint = await redrive(address, capsys, "--before", "yesterday")
        assert (code, "[redrive_refused]" in complaint) == (2, True)
        monkeypatch.setenv("PARCOURS_API_TOKEN", "nobody")
        code, complaint = await redrive(address, capsys)
        assert (code, "[redrive_refused]" in complaint, "401" in complaint) == (2, True, True)
    code, complaint = await redrive(address, capsys)
    assert (code, "[server_silent]" in complaint) == (2, True)
    monkeypatch.delenv("PARCOURS_API_TOKEN")
    code, complaint = await redrive(address, capsys)
    assert (code, "[no_token]" in complaint) == (2, True)
