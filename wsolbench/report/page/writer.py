"""The page written down: one HTML file that asks nothing of any network and holds no markup from its data.

Names, settings and commands come from files that anyone may have written. In HTML they are escaped by the template; in
the scripts' data every ``<``, ``>`` and ``&`` is written as an escape, so no name can end the element it stands in. The
page's content security policy allows the one script and the one style sheet by their hashes, and nothing else.
"""

import base64
import hashlib
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wsolbench.errors import UserError
from wsolbench.files import atomic_write, refuse_unwritable_file
from wsolbench.report.page.data import Page

SOURCES = Path(__file__).parent / "assets"
"""Folder of the template, the style sheets and the scripts."""

STYLES = ("base.css", "tables.css", "views.css")
SCRIPTS = ("page.js", "tables.js", "behind.js", "chart.js", "curves.js", "classes.js", "scoremap.js", "pictures.js")
"""In the order in which they are joined; the last ones use what the first ones define."""


def check_out(path: Path) -> None:
    """Refuse a file that the page could not be written to.

    Raises:
        UserError: its name does not end in .html, or its place cannot be written to.

    >>> check_out(Path("report.pdf"))
    Traceback (most recent call last):
    wsolbench.errors.UserError: --out report.pdf has an unknown ending; expected .html
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {path} has an unknown ending; expected .html")
    refuse_unwritable_file("--out", path)


def write_page(page: Page, path: Path) -> int:
    """Write the page.

    Args:
        page: what it shows.
        path: the file.

    Returns:
        Its size in bytes.

    Raises:
        OSError: the file cannot be written.
    """
    data = to_html(page).encode()
    atomic_write(path, data)
    return len(data)


def to_html(page: Page) -> str:
    """Return the page as HTML.

    Args:
        page: what it shows.
    """
    style = "".join(_source(name) for name in STYLES)
    script = '"use strict";\n{\n' + "".join(_source(name) for name in SCRIPTS) + "}\n"
    environment = Environment(
        loader=FileSystemLoader(SOURCES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        page=page,
        style=Markup(style),  # noqa: S704 (the project's own file)
        script=Markup(script),  # noqa: S704 (the project's own files)
        data=embedded(page.data),
        policy=_policy(style, script),
    )


def embedded(value: object) -> Markup:
    r"""Return JSON that can stand in a ``<script>`` element, whatever texts it holds.

    Args:
        value: JSON values; no NaN.

    Raises:
        ValueError: a number is not finite.

    >>> print(embedded({"name": "</script><b>&"}))
    {"name":"\u003c/script\u003e\u003cb\u003e\u0026"}
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":  # in JSON they stand inside strings only
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (nothing in it can be markup any more)


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the content security policy: nothing from anywhere but these two texts, and pictures from the page."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
