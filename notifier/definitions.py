"""Reads campaigns and templates from their folders, and holds the two together."""

from pathlib import Path
from typing import Final

from notifier.domain.rendering import TemplateLibrary
from schemas.campaigns import Campaign, load_campaigns
from schemas.language_yaml import InvalidDefinition, Problem

__all__ = ["SHIPPED_TEMPLATES", "load_definitions"]

SHIPPED_TEMPLATES: Final = Path(__file__).parent / "templates"
"""The templates that come with Parcours: a folder each, and the layout around their HTML."""

_SUFFIXES: Final = (".txt", ".html")


def load_definitions(folder: Path) -> tuple[tuple[Campaign, ...], TemplateLibrary]:
    """The campaigns of ``folder/campaigns/*.yaml`` and every template that they can name.

    Templates in ``folder/templates`` stand beside the shipped ones, or in their place. Raises `InvalidDefinition` with
    file, line and sentence of everything wrong, also for a campaign whose template does not exist.
    """
    files = {
        str(path): path.read_bytes()
        for path in sorted((folder / "campaigns").glob("*.yaml"))
        if not path.name.startswith(".")
    }
    templates = TemplateLibrary({**_texts(SHIPPED_TEMPLATES), **_texts(folder / "templates")})
    loaded = load_campaigns(files)
    problems: list[Problem] = []
    for each in loaded:
        name = each.campaign.template
        if name not in templates:
            sentence = f"There is no template {name}. Name another one, or add the folder templates/{name}."
            problems.append(each.problem("template", "unknown_template", sentence))
    if problems:
        raise InvalidDefinition(problems)
    return tuple(each.campaign for each in loaded), templates


def _texts(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _SUFFIXES:
            name = path.relative_to(folder).as_posix()
            try:
                found[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                sentence = "The template is not UTF-8 text. Save it as UTF-8."
                raise InvalidDefinition([Problem(str(path), 1, 1, "not_utf8", sentence)]) from None
    return found
