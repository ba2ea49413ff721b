"""The shipped catalog is whole and true, and a catalog file that cannot be used is refused with its place."""

import re
from pathlib import Path

import jsonschema
import pytest

from behavior import compile_definition
from ingest.domain.plan import TrackingPlan
from ingest.domain.seen import Seen
from ingest.ports import Source
from schemas.catalog import Catalog, CatalogEntry, join_files, read_catalog_file
from schemas.language import load_definition
from schemas.language_types import FACT_PREFIX
from schemas.language_yaml import InvalidDefinition, parse_yaml
from services.demo.population import population
from services.event_catalog import load_catalog
from tests.contract.test_published_schemas import published

SHIPPED = Path(__file__).resolve().parents[2] / "definitions"
FILES = sorted((SHIPPED / "catalog").glob("*.yaml"))
CATALOG = load_catalog(SHIPPED)
DEFINITIONS = sorted(
    path for name in ("lifecycles", "segments", "examples") for path in (SHIPPED / name).glob("*.yaml")
)
STRICT = Source("default", "shop", "strict")


@pytest.mark.parametrize("entry", CATALOG.entries.values(), ids=lambda entry: entry.name)
def test_every_example_fits_its_schema_and_every_mark_names_a_property(entry: CatalogEntry) -> None:
    schema = entry.as_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(entry.event.example, schema)
    assert set(entry.event.example) <= set(entry.event.properties)
    for pointer in (*entry.marked("pii"), *entry.marked("sentiment")):
        assert pointer.split("/")[1] in entry.event.properties
    assert all(text.endswith(".") for text in entry.event.description.values())


def test_a_strict_source_may_send_every_example_under_every_name() -> None:
    plan = TrackingPlan(CATALOG, Seen(CATALOG.entries))
    for entry in CATALOG.entries.values():
        if entry.event.phase != "control":
            for name in (entry.name, *entry.event.aliases):
                assert plan.check(STRICT, name, {"properties": entry.event.example}, 1) == ()


def test_what_the_demonstration_sends_is_as_the_catalog_describes_it() -> None:
    plan = TrackingPlan(CATALOG, Seen(CATALOG.entries))
    for customer in population(60, 7, 1_795_358_000_000):
        for act in customer.acts:
            if act.call == "track":
                assert plan.check(STRICT, act.name, {"properties": dict(act.properties)}, 1) == ()


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_every_event_and_property_that_a_shipped_definition_asks_for_is_in_the_catalog(path: Path) -> None:
    definition = compile_definition(load_definition(path.read_bytes(), path.name))
    names = {name for name in definition.plans if not name.startswith(FACT_PREFIX)}
    assert names <= set(CATALOG.entries)
    properties = {name for entry in CATALOG.entries.values() for name in entry.event.properties}
    assert set(re.findall(r"\bproperty: *(\w+)", path.read_text())) <= properties


def test_what_customers_feel_is_marked_wherever_it_is_said() -> None:
    marked = {entry.name: entry.marked("sentiment") for entry in CATALOG.entries.values() if entry.marked("sentiment")}
    assert marked == {
        "Survey Answered": ("/score", "/comment"),
        "Product Reviewed": ("/review_body", "/rating"),
        "Review Published": ("/rating",),
    }


def test_foreign_names_stand_for_the_catalogs() -> None:
    assert CATALOG.canonical("Logged In") == "Signed In"
    assert CATALOG.canonical("help_center_searched") == "Help Searched"
    assert CATALOG.canonical("purchase") == "Order Completed"
    assert CATALOG.canonical("Points Redeemed") == "Reward Redeemed"
    assert CATALOG.canonical("Lamp Lit") == "Lamp Lit"
    assert CATALOG.find("purchase") is CATALOG.entries["Order Completed"]
    assert CATALOG.find("Lamp Lit") is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_fits_the_published_contract_and_is_short(path: Path) -> None:
    jsonschema.validate(parse_yaml(path.read_text(), path.name).data, published("parcours.catalog"))
    assert len(path.read_text().splitlines()) < 500


def file_of(events: str) -> str:
    return f"catalog: x\nevents:\n{events}"


def entry_of(name: str, more: str = "", phase: str = "post") -> str:
    return f"  {name}: {{phase: {phase}, used_for: [x], description: {{en: A., fr: B.}}{more}}}\n"


def test_the_example_of_the_documentation_can_be_used() -> None:
    page = (SHIPPED.parent / "docs" / "how-to" / "plan-your-tracking.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    catalog = join_files([*(read_catalog_file(path.read_text(), path.name) for path in FILES), read_catalog_file(text)])
    plan = TrackingPlan(catalog, Seen(catalog.entries))
    example = catalog.entries["Lamp Switched On"].event.example
    assert plan.check(STRICT, "lamp_on", {"properties": example}, 1) == ()


REFUSED: dict[str, tuple[str, str]] = {
    "no mapping": ("- a", "not_a_mapping"),
    "no events": ("catalog: x\nevents: {}", "invalid_value"),
    "an unknown key": (file_of(entry_of("A", ", colour: red")), "unknown_key"),
    "an unknown keyword": (
        file_of(entry_of("A", ", properties: {a: {type: string, pattern: '(a+)+$'}}")),
        "unknown_key",
    ),
    "no French": ("catalog: x\nevents:\n  A: {phase: post, used_for: [x], description: {en: A.}}", "invalid_value"),
    "no type": (file_of(entry_of("A", ", properties: {a: {}}")), "missing_key"),
    "an unknown type": (file_of(entry_of("A", ", properties: {a: {type: text}}")), "invalid_value"),
    "a bound of a text": (file_of(entry_of("A", ", properties: {a: {type: string, minimum: 0}}")), "invalid_value"),
    "bounds that cross": (
        file_of(entry_of("A", ", properties: {a: {type: number, minimum: 2, maximum: 1}}")),
        "invalid_value",
    ),
    "a required property that is not described": (file_of(entry_of("A", ", required: [a]")), "invalid_value"),
    "four levels": (
        file_of(
            entry_of(
                "A",
                ", properties: {a: {type: array, items: {type: object, properties: {b: {type: array, items:"
                " {type: string}}}}}}",
            )
        ),
        "invalid_value",
    ),
    "an alias that is an event": (file_of(entry_of("A", ", aliases: [B]") + entry_of("B")), "alias_is_event"),
    "an alias of itself": (file_of(entry_of("A", ", aliases: [A]")), "alias_is_event"),
    "an alias of two events": (
        file_of(entry_of("A", ", aliases: [C]") + entry_of("B", ", aliases: [C]")),
        "duplicate_alias",
    ),
    "an alias that is reserved": (file_of(entry_of("A", ", aliases: [$identify]")), "reserved_event_name"),
    "a reserved name": (file_of(entry_of("$mine")), "reserved_event_name"),
    "a control event with another name": (file_of(entry_of("Mine", phase="control")), "reserved_event_name"),
    "a YAML alias": ("catalog: &x x\nevents: *x", "yaml_alias"),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_with_its_place(text: str, code: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        join_files([read_catalog_file(text, "mine.yaml")])
    problem = refused.value.problems[0]
    assert (problem.code, problem.file) == (code, "mine.yaml")
    assert problem.line >= 1


def test_two_files_may_not_describe_one_event(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    for name in ("a", "b"):
        (tmp_path / "catalog" / f"{name}.yaml").write_text(file_of(entry_of("A")))
    with pytest.raises(InvalidDefinition, match="describes A already, in the group x") as refused:
        load_catalog(tmp_path)
    assert refused.value.problems[0].file.endswith("b.yaml")
    (tmp_path / "catalog" / "b.yaml").write_text(file_of(entry_of("B")))
    assert set(load_catalog(tmp_path).entries) == {"A", "B"}


def test_every_file_is_looked_at_before_any_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    for name in ("a", "b"):
        (tmp_path / "catalog" / f"{name}.yaml").write_text("catalog: x")
    with pytest.raises(InvalidDefinition) as refused:
        load_catalog(tmp_path)
    assert {Path(problem.file).name for problem in refused.value.problems} == {"a.yaml", "b.yaml"}


def test_without_the_folder_the_catalog_is_empty(tmp_path: Path) -> None:
    found = load_catalog(tmp_path)
    assert found.entries == {}
    assert found.digest() == Catalog({}).digest() != CATALOG.digest()
