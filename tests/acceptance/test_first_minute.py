"""The first minute with Parcours: what a start prints works when it is pasted, clicked and sent to."""

import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from segment.analytics.client import Client

from tests.acceptance.running import Started

pytestmark = pytest.mark.timeout(120)

READY = r"Parcours is ready: (http://127\.0\.0\.1:\d+)"
WAITING = "waiting for the first event"


def started(folder: Path, **settings: str) -> Started:
    """`parcours run` on a free port, with the data folder `data`."""
    return Started(folder, ["run"], {"PARCOURS_PORT": "0", **settings})


@pytest.fixture
def first_start(tmp_path: Path) -> Iterator[Started]:
    """A first start, once it says that it waits."""
    with started(tmp_path) as parcours:
        parcours.line(WAITING)
        yield parcours


def pasted(parcours: Started, folder: Path, shell: str = "sh", **environment: str) -> str:
    """What the printed curl line answers when it is pasted into a shell that knows no keys."""
    line = parcours.line(r"^\s+(\(?.*curl .*)$")[1]
    known = {name: value for name, value in parcours.environment.items() if not name.startswith("PARCOURS_")}
    done = subprocess.run(
        [shell, "-c", line], cwd=folder, env={**known, **environment}, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_first_start_writes_its_keys_to_a_file_that_only_its_owner_can_read(
    first_start: Started, tmp_path: Path
) -> None:
    path = Path(first_start.line(r"keys +(/.*)")[1])
    assert path == tmp_path / "data" / "credentials.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert keys == {
        "PARCOURS_WRITE_KEY": first_start.line("write key +(.*)")[1],
        "PARCOURS_API_TOKEN": first_start.line("API token +(.*)")[1],
    }


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_printed_curl_line_works_when_pasted_anywhere_and_the_log_tells_what_became_of_it(
    first_start: Started, tmp_path_factory: pytest.TempPathFactory, shell: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert pasted(first_start, elsewhere, shell) == '{"success": true}'
    told = first_start.line(r"first event: .*")[0]
    assert told == "first event: Order Completed (no SDK named), customer ada, stage new -> Adoption"
    assert first_start.output.index(WAITING) < first_start.output.index(told)


def test_the_first_event_of_an_sdk_is_told_with_its_name_and_version(first_start: Started) -> None:
    url, write_key = first_start.line(READY)[1], first_start.line("write key +(.*)")[1]
    client = Client(write_key, host=url)
    client.track("grace", "Checkout Started", {"value": 12})
    client.shutdown()
    told = first_start.line(r"first event: .*")[0]
    assert told == "first event: Checkout Started (analytics-python 2.4.0), customer grace, stage new -> Decision"


def test_the_printed_link_signs_in_once_and_the_printed_token_opens_the_api(first_start: Started) -> None:
    url = first_start.line(READY)[1]
    link = first_start.line(r"sign in +(http://\S+)")[1]
    assert link.startswith(f"{url}/sign-in/")
    with httpx.Client(base_url=url, follow_redirects=True) as browser:
        page = browser.get(link)
        assert (page.status_code, page.url.path) == (200, "/")
        assert "Waiting for the first event" in page.text
    assert httpx.get(link).status_code == 400
    token = first_start.line("API token +(.*)")[1]
    answer = httpx.get(f"{url}/v1/lifecycles/default/stages", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200


def test_a_later_start_keeps_the_keys_and_prints_everything_but_them(tmp_path: Path) -> None:
    with started(tmp_path) as first:
        first.line(WAITING)
        assert first.interrupt() == 0
    path = tmp_path / "data" / "credentials.env"
    before = path.read_text()
    with started(tmp_path) as second:
        second.line(WAITING)
        second.line(READY)
        second.line(rf"keys +{path}")
        second.line(r"sign in +http")
        assert "write key" not in second.output
        assert all(line.split("=")[1] not in second.output for line in before.splitlines())
        assert pasted(second, tmp_path) == '{"success": true}'
        second.line("first event: Order Completed")
    assert path.read_text() == before


def test_keys_of_the_environment_are_written_nowhere_and_the_line_takes_them_from_there(tmp_path: Path) -> None:
    keys = {"PARCOURS_WRITE_KEY": "wk_of_the_environment", "PARCOURS_API_TOKEN": "pt_of_the_environment"}
    with started(tmp_path, **keys) as parcours:
        parcours.line(WAITING)
        parcours.line("keys +from the environment")
        parcours.line("Send a first event, from a shell that has PARCOURS_WRITE_KEY:")
        assert pasted(parcours, tmp_path, PARCOURS_WRITE_KEY=keys["PARCOURS_WRITE_KEY"]) == '{"success": true}'
        parcours.line("first event: Order Completed")
        assert all(key not in parcours.output for key in keys.values())
        assert parcours.interrupt() == 0
    assert not (tmp_path / "data" / "credentials.env").exists()
    written = [path for path in (tmp_path / "data").iterdir() if path.is_file()]
    assert written
    for path in written:
        assert not any(key.encode() in path.read_bytes() for key in keys.values()), path.name


def test_a_key_that_is_made_beside_a_given_one_is_told_with_its_file(tmp_path: Path) -> None:
    with started(tmp_path, PARCOURS_WRITE_KEY="wk_of_the_environment") as parcours:
        parcours.line(WAITING)
        path = Path(parcours.line(r"keys +(/.*)")[1])
        token = parcours.line("API token +(.*)")[1]
        assert path.read_text() == f"PARCOURS_API_TOKEN={token}\n"
        assert pasted(parcours, tmp_path, PARCOURS_WRITE_KEY="wk_of_the_environment") == '{"success": true}'


def test_unknown_write_keys_are_told_in_one_line_with_their_count(first_start: Started) -> None:
    url = first_start.line(READY)[1]
    for number in range(5):
        body = {"userId": "ada", "event": "Signed In", "writeKey": f"wk_wrong_{number}"}
        assert httpx.post(f"{url}/v1/track", json=body).status_code == 401
    first_start.line(r"ingest\.unknown_write_key requests=1")
    assert first_start.output.count("ingest.unknown_write_key") == 1
    assert "wk_wrong" not in first_start.output


def test_ctrl_c_ends_it_with_exit_code_0(first_start: Started) -> None:
    assert first_start.interrupt() == 0
    assert "Traceback" not in first_start.output


def test_curl_is_there_to_paste_into() -> None:
    assert shutil.which("curl") is not None
