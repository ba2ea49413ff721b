"""Templates: every language of every message, and nothing but data."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from notifier.definitions import SHIPPED_TEMPLATES
from notifier.domain.rendering import LOCALES, RenderFailed, TemplateLibrary
from schemas.language_yaml import InvalidDefinition

FILES = {
    path.relative_to(SHIPPED_TEMPLATES).as_posix(): path.read_text()
    for path in sorted(SHIPPED_TEMPLATES.rglob("*"))
    if path.suffix in (".txt", ".html")
}
SHIPPED = TemplateLibrary(FILES)
NAMES = sorted({path.partition("/")[0] for path in FILES if "/" in path})
REASONS = ("", "payment", "trouble", "never_set_up", "price", "competitor", "points_expired", "never_redeemed", "other")


def variables(first_name: str = "Ada", reason: str = "") -> Mapping[str, Mapping[str, object]]:
    """What every template may print."""
    return {
        "customer": {"id": "u-1", "name": first_name, "first_name": first_name, "greeting": first_name},
        "news": {"stage": "adoption", "previous": "", "reason": reason, "visit": 1, "date": "2026-11-03"},
        "sender": {"name": "The Acme team"},
    }


def library(body: str, part: str = "body.txt") -> TemplateLibrary:
    """The shipped templates with another part of the English welcome."""
    return TemplateLibrary({**FILES, f"welcome/en/{part}": body})


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.inside = self.inside or tag == "main"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.parts.append(data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reason", REASONS)
def test_every_template_reads_the_same_as_text_and_as_html_in_every_language(name: str, reason: str) -> None:
    said = set()
    for first_name in ("Zoé & <Co>", ""):
        for locale in LOCALES:
            rendered = SHIPPED.render(name, variables(first_name, reason), locale)
            assert rendered.locale == locale
            assert f'<html lang="{locale}">' in rendered.html
            parser = _Text()
            parser.feed(rendered.html)
            assert " ".join("".join(parser.parts).split()) == " ".join(rendered.text.split())
            assert rendered.text.endswith("The Acme team\n")
            assert "  " not in rendered.text
            assert not re.search(r"[ ,]+[,.!?]", rendered.subject)
            said.add(rendered.text)
    assert len(said) == 2 * len(LOCALES), "two languages say the same words"


def test_a_language_that_a_template_has_not_falls_back_to_english_as_a_whole() -> None:
    for locale in ("de", None, "xx"):
        assert SHIPPED.render("welcome", variables(), locale) == SHIPPED.render("welcome", variables(), "en")


@pytest.mark.parametrize(
    "body",
    [
        "{{ 'a' * 200000000 }}",
        "{% for a in customer.name %}{% endfor %}",
        "{{ customer.name.__class__ }}",
        "{{ customer.name|attr('x') }}",
        "{{ customer['name'] }}",
        "{{ customer.items() }}",
        "{{ customer }}",
        "{{ nothing.name }}",
        "{% set a = 1 %}",
        "{% include 'layout.html' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% macro a() %}{% endmacro %}",
        "{% block a %}{% endblock %}",
        "{% filter upper %}a{% endfilter %}",
        "{% raw %}{% endraw %}{{ 1 + 1 }}",
        "{{ customer.name ~ 'a' }}",
        "{{ ('a',) }}",
        "{{ customer.name is defined }}",
        "{{ customer.name|truncate(customer.id) }}",
        "{{ customer.name|truncate(length=3) }}",
        "{{ message.content }}",
        "{{ customer.name",
        "{% if customer.name %}",
    ],
)
def test_a_template_may_print_variables_and_choose_and_nothing_else(body: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        library(body)
    assert {problem.file for problem in caught.value.problems} == {"welcome/en/body.txt"}
    assert {problem.code for problem in caught.value.problems} == {"template"}


def test_the_allowed_filters_and_choices_work() -> None:
    body = "{{ customer.name|default('x')|upper|truncate(20) }}{% if not news.reason or news.visit > 3 %}!{% endif %}"
    assert library(body).render("welcome", variables(), "en").text == "ADA!"


@pytest.mark.parametrize(
    "name", ["Ada\r\nBcc: a@example.com", "Ada\nB", "A\x00da", "Ada\u2028B", "Ada\x85B", "x" * 300]
)
def test_a_subject_is_one_short_line_or_the_message_fails(name: str) -> None:
    with pytest.raises(RenderFailed):
        SHIPPED.render("welcome", variables(name), "en")


def test_a_message_is_bounded() -> None:
    long = library("{{ news.reason }}" * 1_000)
    assert len(long.render("welcome", variables(reason="x" * 200), "en").text) == 200_000
    with pytest.raises(RenderFailed, match="256 kB"):
        long.render("welcome", variables(reason="x" * 256 + "yyyyyyyy"), "en")
    with pytest.raises(InvalidDefinition, match="65,536"):
        library("x" * 65_537)


@pytest.mark.parametrize("missing", ["welcome/fr/body.txt", "welcome/en/subject.txt", "layout.html"])
def test_every_part_must_be_there_in_every_language(missing: str) -> None:
    with pytest.raises(InvalidDefinition, match="This part of the template is missing"):
        TemplateLibrary({path: text for path, text in FILES.items() if path != missing})


def test_an_unknown_template_cannot_be_rendered() -> None:
    with pytest.raises(RenderFailed, match="There is no template nothing"):
        SHIPPED.render("nothing", variables(), "en")


def test_the_templates_are_shipped_with_the_code() -> None:
    assert Path(SHIPPED_TEMPLATES, "welcome", "en", "subject.txt").is_file()
    assert len(NAMES) == 10
