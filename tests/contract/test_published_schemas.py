"""Published contracts never change, and are what the models say today."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from schemas.changes import Because, TrackChange, TrackCorrected
from schemas.contracts import CONTRACTS, Contract, promise
from schemas.events import INBOUND
from schemas.language import InvalidDefinition, load_definition
from schemas.language_yaml import parse_yaml
from schemas.topics import TOPICS
from scripts.publish_schemas import FOLDER, checksums, digest_of, main, publish, refusals

CHANGE = TrackChange(
    id="6f", revision=1, effect_id="6f", workspace="default", subject="user:ada", lifecycle="default", version=1,
    track="stage", ordinal=0, step=0, from_=None, to="adoption", transition="purchase", visit=1,
    effective_at="2026-11-03T10:00:00.000Z", recorded_at="2026-11-03T10:00:01.000Z", reason=None,
    because=Because("event", ("m1",), ("m1",)), actions=({"notify": "welcome"},),
)  # fmt: skip


def published(contract: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / contract / "1-0.json").read_text())
    return found


def test_no_published_file_was_touched() -> None:
    listed = checksums(FOLDER)
    assert listed
    assert {path: digest_of(FOLDER / path) for path in listed} == listed


def test_every_published_file_is_in_the_list() -> None:
    files = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.json")}
    assert files == set(checksums(FOLDER))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.path)
def test_the_model_still_gives_what_is_published(contract: Contract) -> None:
    found = json.loads((FOLDER / contract.path).read_text())
    assert promise(found) == promise(contract.schema())
    jsonschema.Draft202012Validator.check_schema(found)


def test_every_type_of_every_topic_is_published() -> None:
    types = {contract.type for contract in CONTRACTS}
    for topic in TOPICS:
        assert set(topic.types) <= types, topic.name


def test_what_is_written_to_topics_fits_what_is_published() -> None:
    corrected = TrackCorrected("default", "user:ada", "default", CHANGE.recorded_at, "m1", (CHANGE,), (CHANGE,))
    for contract, value in (("parcours.stage.changed", CHANGE), ("parcours.segment.corrected", corrected)):
        jsonschema.validate(msgspec.json.decode(msgspec.json.encode(value)), published(contract))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"id": "6f"}, published("parcours.stage.changed"))


@pytest.mark.parametrize("call", INBOUND)
def test_the_examples_of_a_call_fit_its_schema(call: str) -> None:
    schema = published(f"parcours.inbound.{call}")
    for example in schema["examples"]:
        jsonschema.validate(example, schema)


SHIPPED = FOLDER.parents[1] / "definitions"
DEFINITIONS = sorted(path for folder in ("lifecycles", "segments", "examples") for path in (SHIPPED / folder).glob("*"))


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_every_shipped_definition_fits_the_published_language(path: Path) -> None:
    jsonschema.validate(parse_yaml(path.read_text(), path.name).data, published("parcours.definition"))


WRONG: dict[str, Any] = {
    "without tracks": {"tracks": {}},
    "with an unknown key": {"colour": "red"},
    "with a half-life that is a number": {"scores": {"x": {"half_life": 14, "cap": 1, "weights": {"a": 1}}}},
    "with a duration without a unit": {"scores": {"x": {"half_life": "14", "cap": 1, "weights": {"a": 1}}}},
    "with a fact for an event": {"event_groups": {"x": ["$stage:default"]}},
    "for nobody": {"subject": "robot"},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_definition_that_the_loader_refuses_fits_the_published_language_no_better(change: dict[str, Any]) -> None:
    path = SHIPPED / "lifecycles" / "default.yaml"
    wrong = {**parse_yaml(path.read_text(), path.name).data, **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, published("parcours.definition"))
    with pytest.raises(InvalidDefinition):
        load_definition(yaml.safe_dump(wrong))


def contract_of(model: dict[str, Any], version: str = "1-0") -> Contract:
    return Contract("parcours.test", version, lambda: model)


OBJECT: dict[str, Any] = {"type": "object", "properties": {"title": {"type": "string"}}}


def test_a_first_version_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([contract_of(OBJECT)], tmp_path) == 0
    assert capsys.readouterr().out == "published parcours.test/1-0.json\n"
    assert main([contract_of(OBJECT)], tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_better_words_are_no_change(tmp_path: Path) -> None:
    publish([contract_of(OBJECT)], tmp_path)
    before = (tmp_path / "parcours.test/1-0.json").read_text()
    assert main([contract_of({**OBJECT, "description": "Better words."})], tmp_path) == 0
    assert (tmp_path / "parcours.test/1-0.json").read_text() == before


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "object", "properties": {"title": {"type": "integer"}}},
        {"type": "object", "properties": {"description": {"type": "string"}}},
        {**OBJECT, "required": ["title"]},
    ],
)
def test_a_model_that_changed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any]
) -> None:
    publish([contract_of(OBJECT)], tmp_path)
    assert main([contract_of(changed)], tmp_path) == 2
    refused = capsys.readouterr().err
    assert refused == "parcours.test/1-0.json is published, and its model has changed; publish it as a new version.\n"
    assert main([contract_of(OBJECT), contract_of(changed, "1-1")], tmp_path) == 0
    assert set(checksums(tmp_path)) == {"parcours.test/1-0.json", "parcours.test/1-1.json"}


def edit(file: Path) -> None:
    file.write_text(file.read_text().replace("object", "array"))


@pytest.mark.parametrize("damage", [edit, Path.unlink])
def test_a_published_file_that_was_touched_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    publish([contract_of(OBJECT)], tmp_path)
    damage(tmp_path / "parcours.test/1-0.json")
    assert main([contract_of(OBJECT)], tmp_path) == 2
    assert len(refusals([replace(contract_of(OBJECT), version="1-1")], tmp_path)) == 1
