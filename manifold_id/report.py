"""One self-contained HTML page: sections of text, tables and figures, which a bench builds from its results folder."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """Rows of texts under column names; `note` explains the columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure and its caption, which is also its text for those who cannot see it."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables, figures and blocks of code, in this order."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    code: Sequence[str] = field(default=())


def write(path: str | os.PathLike[str], title: str, summary: Sequence[str], sections: Sequence[Section]) -> Path:
    """Write the page and return its path; the file is whole or not written at all.

    The same input gives the same bytes. All texts are escaped; figures are SVG inside the page, nothing is loaded from
    elsewhere.
    """
    environment = Environment(loader=PackageLoader("manifold_id"), autoescape=True, undefined=StrictUndefined)
    figures = iter(range(10**6))
    parts: list[dict[str, Any]] = [
        {
            "title": section.title,
            "anchor": f"s{number}-{re.sub('[^a-z0-9]+', '-', section.title.lower()).strip('-')}",
            "text": section.text,
            "tables": section.tables,
            "pictures": [{"svg": _svg(p, f"f{next(figures)}"), "caption": p.caption} for p in section.pictures],
            "code": section.code,
        }
        for number, section in enumerate(sections)
    ]
    page = environment.get_template("report.html").render(title=title, summary=summary, sections=parts)
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-", suffix=".html")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(page)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def _svg(picture: Picture, prefix: str) -> Markup:
    """Return a figure as an <svg> element whose ids occur nowhere else on the page."""
    with matplotlib.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "path"}):
        stream = io.StringIO()
        picture.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-")
    label = escape(picture.caption, quote=True)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
