"""The rules themselves: each finds what it is for, and leaves alone what only looks like it."""

import pytest

from tests.architecture.errors import exception_offenses
from tests.architecture.rules import RULES, Module, offenses
from tests.architecture.words import word_offenses

DOC = '"""A module."""\n'
BROKEN = [
    ("clock", "import time\nx = time.time()"),
    ("clock", "import time as t\nread = t.monotonic"),
    ("clock", "from time import perf_counter_ns as tick"),
    ("clock", "import datetime\nx = datetime.datetime.now(datetime.UTC)"),
    ("clock", "from datetime import UTC, datetime\nx = datetime.now(UTC)"),
    ("clock", "from datetime import date\nx = date.today()"),
    ("clock", "import asyncio\nx = asyncio.get_running_loop().time()"),
    ("clock", "import sqlalchemy as sa\nx = sa.func.now()"),
    ("clock", "SQL = 'update t set at = CURRENT_TIMESTAMP'"),
    ("clock", "SQL = 'select clock_timestamp()'"),
    ("clock", "SQL = \"select strftime('%s', 'now')\"\nx = \"select datetime( 'now')\""),
    ("ids", "import uuid\nx = str(uuid.uuid4())"),
    ("ids", "from uuid import uuid4"),
    ("ids", "import os\nx = os.urandom(8)"),
    ("ids", "import secrets\nx = secrets.token_urlsafe()"),
    ("ids", "import random\nx = random.choice('ab')"),
    ("ids", "from random import Random\nx = Random()"),
    ("environment", "import os\nx = os.environ['A']"),
    ("environment", "from os import environ"),
    ("environment", "import os\nx = os.getenv('A')"),
    ("commit", "def f(c):\n    c.commit()"),
    ("commit", "def f(e):\n    with e.begin() as c:\n        c.execute('x')"),
    ("commit", "async def f(c):\n    await c.commit()"),
    ("commit", "def f(c):\n    c.executescript('create table a (b)')"),
    ("commit", "import sqlite3\nc = sqlite3.connect('x', autocommit=True)"),
    ("commit", "def f(c):\n    c.execute('COMMIT')"),
    ("kafka", "import aiokafka"),
    ("kafka", "from aiokafka.errors import KafkaError"),
    ("log", "def f(log, x):\n    log.info(f'stage.{x}')"),
    ("log", "def f(log):\n    log.info('Stage entered')"),
    ("log", "def f(log, x):\n    log.info('stage.entered %s', x)"),
    ("log", "def f(self):\n    self._log.warning('stage.entered', extra={'email': 1})"),
    ("log", "def f(log):\n    log.info('stage.entered', extra={'name': 1})"),
    ("size", "def f():\n" + "    x = 1\n" * 69),
    ("size", "x = 1\n" * 499),
    ("docstring", "def shown():\n    return 1"),
    ("docstring", "class Shown:\n    x = 1"),
    ("docstring", 'class Shown:\n    """One."""\n\n    def method(self):\n        return 1'),
    ("left out", "import pytest\n\n@pytest.mark.skip\ndef test_a():\n    pass"),
    ("left out", "import pytest\nx = pytest.mark.xfail(strict=True)"),
    ("silenced", "x = 1  # type: " + "ignore[assignment]"),
    ("silenced", "x = 1  # no" + "qa: S101"),
]
KEPT = [
    "import time\ntime.sleep(0)",
    "from datetime import datetime\nx = datetime.fromtimestamp(0)",
    "def _f(clock):\n    return clock.now()",
    "import uuid\nx = uuid.uuid5(uuid.NAMESPACE_URL, 'a')",
    "import secrets\nx = secrets.compare_digest('a', 'b')",
    "from random import Random\nx = Random(7).choice('ab')",
    "import os\nx = os.path.join('a', 'b')",
    "def _f(transaction):\n    transaction.execute('insert into a values (1)')",
    "def _f(log):\n    log.info('stage.entered', extra={'subject': 'user:1', 'count': 2})",
    "def _f(instant):\n    instant.begin()",
    "def _f(math, x):\n    return math.log(x)",
    "def _hidden():\n    return 1",
    'class Adapter(dict):\n    """One."""\n\n    def method(self):\n        return 1',
    "import pytest\n\n@pytest.mark.skipif(True, reason='needs Linux')\ndef _test_a():\n    pass",
    "x = 1  # type: " + "ignore[arg-type]  # each name is a field, checked above",
    "def _f():\n" + "    x = 1\n" * 68,
]


def found_in(text: str, path: str = "stage_engine/example.py") -> list[str]:
    return [offense.rule for offense in offenses(Module(path, DOC + text + "\n"))]


@pytest.mark.parametrize(("rule", "text"), BROKEN)
def test_the_rule_finds_what_offends_it(rule: str, text: str) -> None:
    assert rule in found_in(text)


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_an_offense_is_left_alone(text: str) -> None:
    assert found_in(text) == []


def test_every_rule_but_the_one_for_the_pure_core_is_tried_above() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES) - {"pure"}


@pytest.mark.parametrize("path", ["schemas/a.py", "behavior/deep/a.py", "notifier/domain/a.py"])
def test_the_pure_core_touches_no_file(path: str) -> None:
    assert found_in("def _f(p):\n    return open(p), p.read_text()", path) == ["pure", "pure"]


def test_outside_the_pure_core_files_are_read() -> None:
    assert found_in("def _f(p):\n    return open(p), p.read_text()") == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("services/runtime/clock.py", "import time\nx = time.time()"),
        ("services/runtime/ids.py", "import uuid\nx = uuid.uuid4()"),
        ("services/settings.py", "import os\nx = os.environ"),
        ("services/storage/database.py", "def _f(c):\n    c.commit()"),
        ("services/eventlog/embedded_file.py", "def _f(c):\n    c.commit()"),
        ("services/runtime/worker.py", "async def _f(reader):\n    await reader.commit({})"),
        ("services/eventlog/kafka_reader.py", "import aiokafka"),
        ("tests/unit/test_a.py", "import time\nx = time.time()"),
        ("bench/engine.py", "import os\nx = os.environ"),
    ],
)
def test_each_thing_is_allowed_in_its_home_and_outside_the_product(path: str, text: str) -> None:
    assert found_in(text, path) == []


def test_a_module_without_a_docstring_is_found() -> None:
    assert [offense.rule for offense in offenses(Module("ingest/a.py", "x = 1\n"))] == ["docstring"]


def test_the_runtime_commits_group_offsets_and_nothing_else() -> None:
    assert found_in("def _f(connection):\n    connection.commit()", "services/runtime/worker.py") == ["commit"]


class TestExceptions:
    def found(self, text: str) -> list[str]:
        return [advice.split()[0].strip(":") for _, _, advice in exception_offenses([Module("ingest/errors.py", text)])]

    def test_without_a_sentence_or_a_code_is_found(self) -> None:
        assert self.found("class Lost(Exception):\n    code = 'lost'") == ["Lost"]
        assert self.found('class Lost(Exception):\n    """It is lost. Look for it."""') == ["Lost"]
        assert self.found('class Lost(ValueError):\n    """It is lost."""\n    code = "Not stable"') == ["Lost"]

    def test_inherits_its_code_but_not_its_sentence(self) -> None:
        family = 'class Lost(Exception):\n    """It is lost."""\n    code = "lost"\n\nclass Mislaid(Lost):\n    '
        assert self.found(family + '"""It is mislaid."""') == []
        assert self.found(family + "pass") == ["Mislaid"]

    def test_may_bring_a_code_with_each_instance(self) -> None:
        text = (
            'class Lost(Exception):\n    """It is lost."""\n\n    def __init__(self, code):\n        self.code = code'
        )
        assert self.found(text) == []

    def test_private_ones_and_other_classes_are_left_alone(self) -> None:
        assert self.found("class _Stop(Exception):\n    pass\n\nclass Thing:\n    pass") == []


class TestWords:
    @pytest.mark.parametrize(
        "line",
        [
            "pip install --index" + "-url=https://example",
            "see https://pypi" + ".org/simple",
            "cd /wor" + "k/main",
            "as asked in issue" + " 3",
            "# TO" + "DO: later",
            "raise NotImplemented" + "Error",
        ],
    )
    def test_that_must_not_be_committed_are_found(self, line: str) -> None:
        assert [number for number, _ in word_offenses("docs/a.md", f"fine\n{line}\n")] == [2]

    @pytest.mark.parametrize("line", ["WORKDIR /app", "services/work/queue", "the user agent", "an issue of trust"])
    def test_that_only_look_alike_are_left_alone(self, line: str) -> None:
        assert list(word_offenses("docs/a.md", line)) == []

    def test_of_the_data_folder_belong_to_one_file(self) -> None:
        line = "PARCOURS_TEST_DATA=.." + "/shared/data"
        assert list(word_offenses(".ci/run", line)) == []
        assert len(list(word_offenses("tests/support/data.py", line))) == 1
