"""Definitions load as written, and every mistake is a sentence with its place."""

import pytest

from schemas.language import DefinitionFile, InvalidDefinition, load_definition
from schemas.language_yaml import MAX_BYTES
from tests.support.models import DATA, MODELS, definition_file

HOME = {
    "default": "lifecycles",
    "segments": "segments",
    "saas_trial": "examples",
    "retail_loyalty": "examples",
}
ROOT = DATA.parent.parent

HEAD = "lifecycle: x\nversion: 1\nsubject: user\n"


def with_rule(rule: str, head: str = "") -> str:
    track = "  t:\n    initial: a\n    stages: {a: {}, b: {}}\n    transitions:\n"
    return f"{HEAD}{head}tracks:\n{track}      - {rule}\n"


def with_condition(condition: str, head: str = "") -> str:
    return with_rule(f"{{id: r, from: a, to: b, when: {condition}}}", head)


def loaded(text: str) -> DefinitionFile:
    return load_definition(text, "x.yaml")


def problems(text: str | bytes) -> list[tuple[int, int, str]]:
    with pytest.raises(InvalidDefinition) as refused:
        load_definition(text, "x.yaml")
    for problem in refused.value.problems:
        assert problem.file == "x.yaml"
        assert problem.sentence.endswith(".")
        assert str(problem) == f"x.yaml:{problem.line}:{problem.column}: {problem.sentence}"
    return [(problem.line, problem.column, problem.code) for problem in refused.value.problems]


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_definitions_are_the_models_byte_for_byte(name: str) -> None:
    shipped = (ROOT / "definitions" / HOME[name] / f"{name}.yaml").read_bytes()
    assert shipped == (DATA / "models" / f"{name}.yaml").read_bytes()
    assert load_definition(shipped).lifecycle == name


def test_the_hash_is_of_the_content_and_not_of_its_writing() -> None:
    plain = loaded(with_condition("{did: {event: X, within: 24h}}"))
    quoted = loaded(with_condition("{'did': {'within': '1d', event: [\"X\"]}}") + "# a comment\n")
    other = loaded(with_condition("{did: {event: X, within: 25h}}"))
    assert plain.content_hash() == quoted.content_hash() != other.content_hash()
    assert len({definition_file(name).content_hash() for name in MODELS}) == 4


def test_words_that_older_yaml_takes_for_booleans_stay_words() -> None:
    file = loaded(
        f"{HEAD}tracks: {{on: {{initial: no, stages: {{no: {{}}, yes: {{}}, off: {{}}, y: {{}}, n: {{}}}}, "
        "transitions: [{id: on, from: no, to: yes, when: {last: {event: NO, property: off, is: yes}}}]}}\n"
    )
    track = file.tracks["on"]
    assert list(track.stages) == ["no", "yes", "off", "y", "n"]
    assert track.transitions[0].when is not None
    assert track.transitions[0].when.last is not None
    assert track.transitions[0].when.last.event == ("NO",)
    assert track.transitions[0].when.last.is_.eq == "yes"


def test_numbers_texts_and_truth_values_are_told_apart() -> None:
    file = loaded(
        with_rule("{id: r, from: a, to: b, event: X, where: {i: 7, f: 1.5, t: '7', b: true, h: 0x10, e: 1e2, m: -3}}")
    )
    where = file.tracks["t"].transitions[0].where
    assert {name: test.eq for name, test in where.items()} == {
        "i": 7, "f": 1.5, "t": "7", "b": True, "h": 16, "e": 100.0, "m": -3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1", (1, 4, "yaml_alias")),
        ("a: {b: 1}\nc: *a", (2, 4, "yaml_alias")),
        ("a: 1\nb: 2\na: 3", (3, 1, "yaml_duplicate_key")),
        ("a: {b: 1, b: 2}", (1, 11, "yaml_duplicate_key")),
        ("a: !!python/object:os.system x", (1, 4, "yaml_tag")),
        ("a: !secret x", (1, 4, "yaml_tag")),
        ("a: .inf", (1, 4, "yaml_number")),
        ("a: 1e999", (1, 4, "yaml_number")),
        ("a: " + "9" * 5000, (1, 4, "yaml_number")),
        ("1: 2", (1, 1, "yaml_key")),
        ("true: 2", (1, 1, "yaml_key")),
        ("? [a]\n: 2", (1, 3, "yaml_key")),
        ("a: 1\n---\nb: 2", (2, 1, "several_documents")),
        ("", (1, 1, "empty")),
        ("# nothing\n", (1, 1, "empty")),
        ("- a", (1, 1, "not_a_mapping")),
        ("text", (1, 1, "not_a_mapping")),
        ("[" * 200_000, (1, 33, "too_deep")),
        ("a: " + "{a: " * 40, (1, 128, "too_deep")),
        (b"a: \xff", (1, 1, "not_utf8")),
        ("a: \ud800", (1, 1, "not_utf8")),
        ("x" * (MAX_BYTES + 1), (1, 1, "too_large")),
    ],
)
def test_yaml_that_the_language_does_not_allow_is_refused_at_its_place(
    text: str | bytes, expected: tuple[int, int, str]
) -> None:
    assert problems(text) == [expected]


@pytest.mark.parametrize("text", ["a: [1", "a: 'b", "a: b: c", "a:\n\t- b", "a: \x01"])
def test_what_is_no_yaml_is_refused_with_a_place(text: str) -> None:
    ((line, _column, code),) = problems(text)
    assert line >= 1
    assert code in ("yaml_syntax", "yaml_characters")


def test_a_byte_order_mark_is_passed_over() -> None:
    assert load_definition(b"\xef\xbb\xbf" + with_rule("{id: r, from: a, to: b, after: 1d}").encode()).lifecycle == "x"


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("{count: {event: X}}", "invalid_value"),
        ("{count: {event: X, at_least: 5, at_most: 4}}", "invalid_value"),
        ("{count: {event: X, at_least: -1}}", "invalid_value"),
        ("{count: {event: X, at_least: 1.5}}", "invalid_value"),
        ("{count: {event: X, at_least: '2'}}", "invalid_value"),
        ("{count: {event: X, at_least: 2, within: 30 days}}", "invalid_value"),
        ("{count: {event: X, at_least: 2, within: 0d}}", "invalid_value"),
        ("{count: {event: X, at_least: 2, within: 30}}", "invalid_value"),
        ("{count: {event: X, at_least: 2, since: yesterday}}", "invalid_value"),
        ("{count: {event: X, at_leest: 2}}", "unknown_key"),
        ("{count: {at_least: 2}}", "missing_key"),
        ("{count: {event: [], at_least: 2}}", "invalid_value"),
        ("{count: {event: '$stage:default', at_least: 2}}", "invalid_value"),
        ("{count: 2}", "invalid_value"),
        ("{counts: {event: X}}", "unknown_key"),
        ("{'script::': 'x'}", "unknown_key"),
        ("{did: {event: X}, always: true}", "invalid_value"),
        ("{}", "invalid_value"),
        ("{always: false}", "invalid_value"),
        ("{all: []}", "invalid_value"),
        ("{not: [{always: true}]}", "invalid_value"),
        ("{did: {event: '@none'}}", "unknown_event_group"),
        ("{ratio: {numerator: {event: X}, denominator: {event: '@'}, within: 1d, at_most: 1}}", "unknown_event_group"),
        ("{ratio: {numerator: {event: X}, denominator: {event: Y}, within: 1d, at_least: x}}", "invalid_value"),
        ("{trend: {event: X, window: 1d, drop_at_least: 0.5, min_before: 0}}", "invalid_value"),
        ("{milestone: nobody_sets_it}", "unknown_milestone"),
        ("{score: {name: none, at_least: 1}}", "unknown_score"),
        ("{score: {name: s, at_least: 0}}", "invalid_value"),
        ("{score: {name: s, at_least: 11}}", "score_out_of_reach"),
        ("{score: {name: s}}", "invalid_value"),
        ("{score: {name: s, at_least: 1, below: 2}}", "invalid_value"),
        ("{in_stage: {track: t, stage: z}}", "unknown_stage"),
        ("{in_stage: {track: u, stage: a}}", "unknown_track"),
        ("{in_stage: {stage: a}}", "missing_key"),
        ("{date: {event: X, within_next: 1d}}", "invalid_value"),
        ("{date: {event: X, property: p}}", "invalid_value"),
        ("{date: {trait: p, property: q, passed: true}}", "invalid_value"),
        ("{last: {event: X, property: p, is: {}}}", "invalid_value"),
        ("{last: {event: X, property: p, is: {gt: true}}}", "invalid_value"),
        ("{last: {event: X, property: p, is: {like: x}}}", "unknown_key"),
        ("{last: {event: X, property: p, is: {in: x}}}", "invalid_value"),
        ("{last: {event: X, property: p, is: null}}", "invalid_value"),
        ("{trend: {event: X, window: 1d, drop_at_least: 1.5}}", "invalid_value"),
        ("{overdue: {event: X, factor: 0, min: 1d}}", "invalid_value"),
        ("{overdue: {event: X, factor: 1, min: 1d, min_gaps: 11}}", "invalid_value"),
        ("{sum: {event: X, property: p, at_least: 1e300}}", "invalid_value"),
        ("{sum: {event: X, at_least: 1}}", "missing_key"),
        ("{stage_age: soon}", "invalid_value"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_is_refused_on_its_line(condition: str, code: str) -> None:
    found = problems(with_condition(condition, "scores: {s: {half_life: 1d, cap: 10, weights: {X: 1}}}\n"))
    assert [(line, each) for line, _, each in found] == [(10, code)]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("{id: r, from: a, to: b}", "invalid_value"),
        ("{id: r, from: a, to: b, where: {p: 1}, after: 1d}", "invalid_value"),
        ("{id: r, from: z, to: b, after: 1d}", "unknown_stage"),
        ("{id: r, from: a, to: z, after: 1d}", "unknown_stage"),
        ("{id: r, from: a, to: {history: [b, z], default: a}, after: 1d}", "unknown_stage"),
        ("{id: r, from: a, to: {history: [b]}, after: 1d}", "missing_key"),
        ("{id: r, from: [], to: b, after: 1d}", "invalid_value"),
        ("{id: initial, from: a, to: b, after: 1d}", "invalid_value"),
        ("{id: 'no spaces', from: a, to: b, after: 1d}", "invalid_value"),
        ("{id: r, from: a, to: b, event: '@none'}", "unknown_event_group"),
        ("{id: r, from: a, to: b, after: 1d, why: {english: x}}", "invalid_value"),
        ("{id: r, from: a, to: b, after: 1d}\n      - {id: r, from: b, to: a, after: 1d}", "duplicate_transition"),
    ],
)
def test_a_transition_that_leads_nowhere_is_refused(rule: str, code: str) -> None:
    assert [each for _, _, each in problems(with_rule(rule))] == [code]


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("zone: Mars/Olympus\n", "unknown_zone"),
        ("zone: ../../etc/passwd\n", "unknown_zone"),
        ("zone: zone.tab\n", "unknown_zone"),
        ("event_groups: {a: [X], b: ['@a']}\n", "nested_group"),
        ("scores: {s: {half_life: 1d, cap: 0, weights: {X: 1}}}\n", "invalid_value"),
        ("scores: {s: {half_life: 1d, cap: 5, weights: {}}}\n", "invalid_value"),
        ("segments: {}\n", "unknown_key"),
    ],
)
def test_a_head_that_cannot_be_is_refused(head: str, code: str) -> None:
    assert [each for _, _, each in problems(with_rule("{id: r, from: a, to: b, after: 1d}", head))] == [code]


def test_several_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        f"{HEAD}zone: Nowhere\ntracks:\n  t: {{primary: true, initial: z, stages: {{a: {{}}}}}}\n"
        "  u:\n    primary: true\n    initial: a\n    stages: {a: {final: true}}\n"
        "    transitions: [{id: r, from: a, to: c, after: 1d}]\n"
    )
    assert [(line, code) for line, _, code in found] == [
        (4, "unknown_zone"),
        (6, "unknown_stage"),
        (8, "several_primary_tracks"),
        (11, "final_stage_left"),
        (11, "unknown_stage"),
    ]


def test_conditions_are_nested_eight_deep_and_no_deeper() -> None:
    def nested(depth: int) -> str:
        return with_condition("{not: " * depth + "{always: true}" + "}" * depth)

    assert loaded(nested(8)).lifecycle == "x"
    assert [code for _, _, code in problems(nested(9))] == ["too_deep"]
