"""Templates: a small part of Jinja2, checked when loaded, so that rendering is bounded and reaches nothing but data.

Jinja2's sandbox alone neither bounds work nor memory. Here a template may only print variables of the schema below,
through a few filters, and choose between texts: no calls, arithmetic, loops, assignments, includes or macros.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from notifier.domain.model import Pending
from notifier.domain.profiles import Profile, greeting_of
from schemas.ids import display_id
from schemas.language_yaml import InvalidDefinition, Problem
from schemas.times import format_instant

__all__ = ["FALLBACK_LOCALE", "LOCALES", "RenderFailed", "Rendered", "TemplateLibrary", "variables_of"]

LOCALES: Final = ("en", "fr")
FALLBACK_LOCALE: Final = "en"

_PARTS: Final = ("subject.txt", "body.txt", "body.html")
_LAYOUT: Final = "layout.html"
_MAX_OUTPUT: Final = 256 * 1024
_MAX_TEMPLATE: Final = 64 * 1024
_MAX_SUBJECT: Final = 200
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_VARIABLES: Final[Mapping[str, frozenset[str]]] = {
    "customer": frozenset({"id", "name", "first_name", "greeting"}),
    "news": frozenset({"stage", "previous", "reason", "visit", "date"}),
    "sender": frozenset({"name"}),
}
_LAYOUT_VARIABLES: Final = {**_VARIABLES, "message": frozenset({"locale", "subject", "content"})}
_FILTERS: Final = frozenset({"default", "escape", "lower", "title", "truncate", "upper"})
_NODES: Final = frozenset(
    {
        nodes.And,
        nodes.Compare,
        nodes.Const,
        nodes.Filter,
        nodes.Getattr,
        nodes.If,
        nodes.Name,
        nodes.Not,
        nodes.Operand,
        nodes.Or,
        nodes.Output,
        nodes.Template,
        nodes.TemplateData,
    }
)


class RenderFailed(ValueError):
    """The message cannot be rendered with what is known of the customer. Correct the template or the trait."""

    code = "render_error"


class Rendered(NamedTuple):
    """The parts of a message in one language."""

    locale: str
    subject: str
    text: str
    html: str


class _Parts(NamedTuple):
    subject: Template
    text: Template
    html: Template


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=autoescape, undefined=StrictUndefined, cache_size=0, keep_trailing_newline=True
    )
    environment.globals.clear()
    environment.tests.clear()
    environment.filters = {name: found for name, found in environment.filters.items() if name in _FILTERS}
    return environment


class TemplateLibrary:
    """All templates, compiled: each has a subject, a text and an HTML part in every language of `LOCALES`."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """`files`: contents by path, as ``welcome/en/subject.txt``, and ``layout.html`` around every HTML part.

        Raises `InvalidDefinition` with every missing part, and everything that a template may not contain.
        """
        self._plain = _environment(autoescape=False)
        self._escaping = _environment(autoescape=True)
        self._files = files
        problems: list[Problem] = []
        layout = self._compile(_LAYOUT, _LAYOUT_VARIABLES, problems)
        names = sorted({path.partition("/")[0] for path in files if "/" in path})
        found: dict[str, dict[str, _Parts]] = {}
        for name in names:
            for locale in LOCALES:
                compiled = [self._compile(f"{name}/{locale}/{part}", _VARIABLES, problems) for part in _PARTS]
                if None not in compiled:
                    found.setdefault(name, {})[locale] = _Parts(*(each for each in compiled if each is not None))
        if problems or layout is None:
            raise InvalidDefinition(problems)
        self._layout = layout
        self._found = found

    def __contains__(self, name: str) -> bool:
        """Whether there is a template of that name."""
        return name in self._found

    def render(self, name: str, variables: Mapping[str, Mapping[str, Any]], locale: str | None) -> Rendered:
        """Render a template in a language, or in English when it has not that one; never mixed.

        Raises `RenderFailed`: an unknown template, a subject of more than one line, or too much output.
        """
        if name not in self._found:
            raise RenderFailed(f"There is no template {name}. Add its folder, or name another one.")
        chosen = locale if locale in self._found[name] else FALLBACK_LOCALE
        parts = self._found[name][chosen]
        try:
            subject = parts.subject.render(variables).removesuffix("\n").strip(" ")
            text = parts.text.render(variables)
            content = parts.html.render(variables)
            message = {"locale": chosen, "subject": subject, "content": Markup(content)}  # noqa: S704  escaped just above
            html = self._layout.render({**variables, "message": message})
        except TemplateError as error:
            raise RenderFailed("The template cannot be rendered. Correct it and publish it again.") from error
        if not subject or len(subject) > _MAX_SUBJECT or _CONTROL.search(subject):
            raise RenderFailed("The subject is empty, too long, or has line breaks. Correct the template or the trait.")
        if len(text) + len(html) > _MAX_OUTPUT:
            raise RenderFailed("The message is longer than 256 kB. Shorten the template.")
        return Rendered(chosen, subject, text, html)

    def _compile(self, path: str, variables: Mapping[str, frozenset[str]], problems: list[Problem]) -> Template | None:
        source = self._files.get(path)
        if source is None:
            problems.append(Problem(path, 1, 1, "missing_part", "This part of the template is missing. Write it."))
            return None
        if len(source) > _MAX_TEMPLATE:
            problems.append(Problem(path, 1, 1, "too_large", "A template has at most 65,536 characters. Shorten it."))
            return None
        environment = self._escaping if path.endswith(".html") else self._plain
        try:
            parsed = environment.parse(source)
            offenses = _check(parsed, variables)
            if not offenses:
                return environment.from_string(parsed)
        except TemplateSyntaxError as error:
            offenses = [(error.lineno, f"This is not a template: {error.message}")]
        except RecursionError:
            offenses = [(1, "The template is nested too deep. Make it flatter.")]
        problems.extend(Problem(path, line, 1, "template", sentence) for line, sentence in offenses)
        return None


def _check(parsed: nodes.Template, variables: Mapping[str, frozenset[str]]) -> list[tuple[int, str]]:
    """(line, sentence) of everything in a parsed template that is not allowed."""
    found: list[tuple[int, str]] = []
    looked_into: set[int] = set()
    for node in parsed.find_all(nodes.Node):
        if type(node) not in _NODES:
            found.append((node.lineno, f"A template may not contain {type(node).__name__}. Print variables only."))
        elif isinstance(node, nodes.Getattr):
            base = node.node.name if isinstance(node.node, nodes.Name) else ""
            looked_into.add(id(node.node))
            if node.attr not in variables.get(base, frozenset()):
                known = ", ".join(f"{name}.{attr}" for name in sorted(variables) for attr in sorted(variables[name]))
                found.append((node.lineno, f"{base}.{node.attr} is not known. There are: {known}."))
        elif isinstance(node, nodes.Filter):
            found.extend((node.lineno, sentence) for sentence in _check_filter(node))
    for name in parsed.find_all(nodes.Name):
        if id(name) not in looked_into:
            found.append((name.lineno, f"{name.name} is not known by itself. Write for example customer.first_name."))
    return sorted(found)


def _check_filter(node: nodes.Filter) -> list[str]:
    if node.name not in _FILTERS:
        return [f"The filter {node.name} is not known. There are: {', '.join(sorted(_FILTERS))}."]
    constant = all(isinstance(each, nodes.Const) for each in node.args)
    if node.node is None or node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None or not constant:
        return [f"The filter {node.name} takes only fixed values, without names."]
    return []


def variables_of(pending: Pending, profile: Profile, sender_name: str) -> dict[str, dict[str, Any]]:
    """What a template may print: plain text and numbers; what is not known is the empty text."""
    return {
        "customer": {"id": display_id(pending.subject), **greeting_of(profile)},
        "news": {
            "stage": pending.stage,
            "previous": pending.previous or "",
            "reason": pending.reason or "",
            "visit": pending.visit,
            "date": format_instant(pending.effective_at)[:10],
        },
        "sender": {"name": sender_name},
    }
