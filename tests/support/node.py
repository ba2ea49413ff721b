"""Node and the SDKs of `tests/clients/node`: installed once per checkout, driven as child processes.

What is missing (Node, npm, the registry) skips the tests that need it and says so; with CI=true it fails them.
"""

import asyncio
import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["CLIENTS", "drive", "node_clients"]

CLIENTS: Final = Path(__file__).parents[1] / "clients" / "node"
_LOCK: Final = "parcours-tests-node.lock"
_SECONDS: Final = 90


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The folder with the installed SDKs. Workers of one run wait for whoever installs them."""
    with (Path(tempfile.gettempdir()) / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([str(CLIENTS / "install.sh")], capture_output=True, text=True)
    if done.returncode != 0:
        reason = done.stderr.strip()
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return CLIENTS


async def drive(clients: Path, program: str, scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Run one of the programs beside the SDKs with a scenario; what it prints at its end, as JSON.

    The child sees nothing of this environment but the path: no proxy, and none of the SDKs' own variables.
    """
    process = await asyncio.create_subprocess_exec(
        "node", program,
        cwd=clients,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SECONDS):
            output, errors = await process.communicate(json.dumps(scenario).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told
