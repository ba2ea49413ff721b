"""The distribution's Chromium; without it the tests that need it are skipped, and with CI=true they fail."""

import os
import shutil
from typing import Final

import pytest

__all__ = ["FLAGS", "chromium_path"]

FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


def chromium_path() -> str:
    """Where it is installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "Chromium is not installed: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found
