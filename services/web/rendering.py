"""HTML from templates: escaped, and strict about names that do not exist."""

from pathlib import Path
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["STATIC", "Pages"]

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"


class Pages:
    """The templates of this package."""

    def __init__(self) -> None:
        """Templates are compiled at their first use and kept."""
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def render(self, template: str, *, status: int = 200, signed_in: bool = True, **values: Any) -> HTMLResponse:
        """The answer that a template makes of `values`."""
        html = self._environment.get_template(template).render(signed_in=signed_in, **values)
        return HTMLResponse(html, status)
