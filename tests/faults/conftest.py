"""What the fault tests share: an undisturbed run to compare with, and a report at the end of the run."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.times import HOUR
from services.runtime.clock import SystemClock
from tests.faults.options import OPTIONS
from tests.support.counts import tell
from tests.support.mail_sink import MailSink
from tests.support.population import Population, populate
from tests.support.poster import batched
from tests.support.services import CHECKOUT
from tests.support.states import Journeys, StoredState
from tests.support.system import System, Tuning

CUSTOMERS = 450


@dataclass(frozen=True)
class Undisturbed:
    """A population, and what an undisturbed run made of it: standing journeys up to `now`.

    `state` can still be read when that run is over.
    """

    now: int
    state: StoredState
    population: Population
    journeys: Journeys


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped definitions, and an example that follows accounts."""
    folder = tmp_path_factory.mktemp("definitions") / "definitions"
    shutil.copytree(CHECKOUT / "definitions", folder)
    shutil.copy(folder / "examples" / "saas_trial.yaml", folder / "lifecycles")
    return folder


@pytest.fixture(scope="session")
def undisturbed(definitions: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """One run on the embedded shape in which nothing is broken."""
    now = SystemClock().now() - HOUR
    population = populate(OPTIONS.seed, CUSTOMERS, now)
    with MailSink(answer_seconds=0.0) as mail:
        tuning = Tuning(definitions=definitions, settings={"PARCOURS_SMTP_URL": mail.url})
        with System(tmp_path_factory.mktemp("undisturbed"), tuning) as system:
            system.post(list(batched(population.lines, 100)))
            system.settle()
            return Undisturbed(now, system.state, population, system.state.journeys(now))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines for the end of the run, where the seed and the counts can be read, also when the test failed."""
    lines = [f"{request.node.name}: seed {OPTIONS.seed}, {OPTIONS.kills} kills"]
    yield lines
    for line in lines:
        tell(request.node, line)
