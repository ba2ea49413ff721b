"""The public data sets that PARCOURS_TEST_DATA names; they are never part of the repository."""

import csv
import gzip
import io
import os
from pathlib import Path

import pytest

__all__ = ["event_lines", "first_orders"]


def _folder() -> Path:
    """The folder of the data sets. Skips the test when it is not given; with CI=true that is a failure."""
    given = os.environ.get("PARCOURS_TEST_DATA")
    if given and Path(given).is_dir():
        return Path(given)
    reason = "PARCOURS_TEST_DATA does not name the folder of the public data sets."
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def event_lines(data_set: str, perturbed: bool = False) -> list[bytes]:
    """The events of a data set, one JSON object a line, in the order of the file."""
    name = "events.perturbed.ndjson.gz" if perturbed else "events.ndjson.gz"
    return gzip.decompress((_folder() / data_set / name).read_bytes()).splitlines()


def first_orders() -> dict[str, int]:
    """The instant (ms) of the first order of every CDNOW customer, as the data set's answers have it."""
    text = gzip.decompress((_folder() / "cdnow" / "orders.first_per_user.csv.gz").read_bytes()).decode()
    return {row["user_id"]: int(row["first_ms"]) for row in csv.DictReader(io.StringIO(text))}
