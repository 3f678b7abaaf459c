"""Render templates: the shell loops and the waiting page. Pure. An undefined name is an error."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def render(template: str, /, **values: Any) -> str:
    """Render the template of that name in a package's `templates/`. Shell templates quote values with `|q`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(list(ROOT.glob("*/templates"))),
        undefined=jinja2.StrictUndefined,
        autoescape=template.endswith(".html.j2"),
        keep_trailing_newline=True,
    )
    environment.filters["q"] = lambda value: shlex.quote(str(value))
    return environment.get_template(template).render(**values)
