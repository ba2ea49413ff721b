"""The container files agree with the code. No engine runs them here; what can be known without one is held."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "parcours"}
SECRETS = {"POSTGRES_PASSWORD", "PARCOURS_WRITE_KEY", "PARCOURS_API_TOKEN"}


def test_the_image_holds_every_package_that_runs_and_no_other() -> None:
    copied = set(re.findall(r"^COPY (\w+) \./\1$", DOCKERFILE, re.MULTILINE))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert copied - {"LICENSE"} == packages - {"bench", "localservers", "scripts", "tests"} | {"definitions"}


def test_what_the_image_copies_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    wanted = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert ignored[1] == "*"
    assert sent == set(wanted)


def test_the_image_installs_only_pinned_wheels_and_does_not_run_as_root() -> None:
    assert "--require-hashes --only-binary :all:" in DOCKERFILE
    final_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", final_stage, re.MULTILINE) == ["10001:10001"]


def test_every_setting_in_the_container_files_exists() -> None:
    settings = {f"PARCOURS_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    assert set(re.findall(r"PARCOURS_[A-Z_]+", DOCKERFILE + COMPOSE_TEXT)) <= settings


def test_there_is_one_container_for_each_service_and_one_for_migrations() -> None:
    assert {name: service["command"] for name, service in OURS.items()} == {
        "migrate": ["migrate"],
        "ingest": ["ingest"],
        "stage-engine": ["stage-engine"],
        "segmenter": ["segmenter"],
        "notifier": ["notifier"],
    }


def test_secrets_have_no_defaults_and_say_what_to_do() -> None:
    for name in SECRETS:
        uses = re.findall(r"\$\{" + name + r"([^}]*)\}", COMPOSE_TEXT)
        assert uses
        assert all(use.startswith(":?Set ") and use.endswith(".") for use in uses)
    assert set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT)) == SECRETS


@pytest.mark.parametrize("name", SERVICES)
def test_a_published_port_is_bound_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_a_service_waits_for_migrated_tables_and_keeps_its_data(name: str) -> None:
    service = SERVICES[name]
    assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert [volume for volume in service["volumes"] if volume.endswith(":/data")]
    assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_may_write_nothing_but_its_data(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
