"""The demonstration: within a minute a population lives half a year, through a real SDK, into all ten stages."""

import re
from pathlib import Path

import httpx
import pytest

from services.demo.population import MINIMUM
from tests.acceptance.running import Started

pytestmark = pytest.mark.timeout(150)

STAGES = [
    "Awareness", "Consideration", "Decision", "Adoption", "Retention", "Expansion", "Advocacy", "At risk", "Churned",
    "Won back",
]  # fmt: skip
LINK = r"Open (http://\S+?)(/sign-in/\S+)"


def table_of(output: str) -> dict[str, int]:
    """Customers per stage, as printed."""
    rows = re.findall(r"│ (\S.*?) +│ +(\d+) │", output)
    return {label: int(number) for label, number in rows}


def demo(folder: Path, *arguments: str, **settings: str) -> Started:
    """`parcours demo`, with its temporary folders inside `folder`."""
    return Started(folder, ["demo", *arguments], {"TMPDIR": str(folder), "COLUMNS": "120", **settings})


def test_three_hundred_customers_occupy_all_ten_stages_and_it_stays_up_until_ctrl_c(tmp_path: Path) -> None:
    with demo(tmp_path) as parcours:
        seconds = float(parcours.line(r"Done in ([\d.]+) s", 100)[1])
        found = parcours.line(LINK)
        parcours.line("runs until Ctrl-C")
        table = table_of(parcours.output)
        assert list(table) == STAGES
        assert all(table.values())
        assert sum(table.values()) == 300
        assert "segment-analytics-python 2.4.0" in parcours.output
        assert int(parcours.line(r"local outbox: (\d+)")[1]) > 100
        print(f"{seconds} s from start to table")

        with httpx.Client(base_url=found[1], follow_redirects=True) as browser:
            page = browser.get(found[2])
            assert page.status_code == 200
            assert "300 customers" in page.text
            counted = browser.get("/v1/lifecycles/default/stages").json()["tracks"][0]["stages"]
            assert {stage["label"]["en"]: stage["count"] for stage in counted} == table
            (message, *_) = browser.get("/v1/messages", params={"campaign": "welcome"}).json()["messages"]
            assert (message["outcome"], message["channel"]) == ("sent", "outbox")
            assert message["to"].endswith("@example.com")
        assert len(list(tmp_path.glob("parcours-demo-*"))) == 1
        assert parcours.interrupt() == 0
        assert "Traceback" not in parcours.output
    assert list(tmp_path.glob("parcours-demo-*")) == []


def test_it_joins_a_running_server_and_posting_the_same_again_changes_nothing(tmp_path: Path) -> None:
    keys = {"PARCOURS_WRITE_KEY": "wk_demo_joins", "PARCOURS_API_TOKEN": "pt_demo_joins"}
    quick = {"PARCOURS_SETTLE": "500ms", "PARCOURS_SETTLE_HISTORY": "1s"}
    with Started(tmp_path, ["run"], {"PARCOURS_PORT": "0", **keys, **quick}) as server:
        url = server.line(r"is ready: (\S+)")[1]
        tables, links = [], []
        for _ in range(2):
            with demo(tmp_path, "--url", url, "--customers", "20", **keys, **quick) as parcours:
                parcours.line("Done in", 60)
                links.append(parcours.line(LINK)[1])
                assert parcours.process.wait(20) == 0
                tables.append(table_of(parcours.output))
        assert tables[0] == tables[1]
        assert sum(tables[0].values()) == 20
        assert all(tables[0].values())
        assert links == [url, url]
        assert server.interrupt() == 0


def test_the_data_stays_when_it_is_to_be_kept(tmp_path: Path) -> None:
    with demo(tmp_path, "--customers", str(MINIMUM), "--seed", "11", "--keep") as parcours:
        parcours.line("its data stays in", 60)
        assert all(table_of(parcours.output).values())
        assert parcours.interrupt() == 0
    (folder,) = tmp_path.glob("parcours-demo-*")
    assert (folder / "stage_engine.db").exists()
    assert (folder / "credentials.env").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--customers", "9"], "bad_arguments"),
        (["--customers", "20001"], "bad_arguments"),
        (["--url", "nowhere"], "bad_arguments"),
        (["--url", "http://127.0.0.1:9"], "server_silent"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path: Path, arguments: list[str], code: str) -> None:
    keys = {"PARCOURS_WRITE_KEY": "wk", "PARCOURS_API_TOKEN": "pt"}
    with demo(tmp_path, *arguments, **keys) as parcours:
        assert parcours.process.wait(30) == 2
        parcours.line(rf"^parcours: .*\. \[{code}\]$")
        assert len(parcours.output.strip().splitlines()) == 1


def test_joining_without_keys_says_where_they_come_from(tmp_path: Path) -> None:
    with demo(tmp_path, "--url", "http://127.0.0.1:9") as parcours:
        assert parcours.process.wait(30) == 2
        parcours.line(r"PARCOURS_WRITE_KEY and PARCOURS_API_TOKEN")
