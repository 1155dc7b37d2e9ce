"""From a template, its style sheets and scripts to one HTML file that stands for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


def render(template: str, **context: Any) -> str:
    """The text of a page.

    `inline("page.css") | safe` in a template is the content of that file, `x | tojson` is JSON that
    may stand in a <script>.  By the policy in page.html.j2 browsers load nothing else.

    Args:
        template: name of a file in this folder.
        context: what the template names.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.globals["inline"] = lambda name: (FOLDER / name).read_text("utf-8")
    return environment.get_template(template).render(context)
