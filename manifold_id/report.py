"""One self-contained HTML page: sections of text, tables and figures, which a bench builds from its results folder."""

from __future__ import annotations

import io
import itertools
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from manifold_id.files import write_text
from manifold_id.formula import mathml


@dataclass(frozen=True)
class Table:
    """Rows of texts under column names; `note` explains the columns. A notebook shows it as the page does.

    The columns of numbers `words` hold words and stand to the left, the others, numbers, to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    words: Collection[int] = (0,)

    def _repr_html_(self) -> str:
        return _environment().get_template("table.html").render(table=self)


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure and its caption; title and caption are its text for those who cannot see it."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with formulas (LaTeX), paragraphs, tables, figures and blocks of code, in this order.

    `short` is its name among the links at the head of the page, where the title is too long.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    code: Sequence[str] = ()
    formulas: Sequence[str] = ()
    short: str = ""


def write(path: str | os.PathLike[str], title: str, summary: Sequence[str], sections: Sequence[Section]) -> Path:
    """Write the page and return its path; the file is whole or not written at all.

    The same input gives the same bytes. All texts are escaped; figures are SVG and formulas MathML inside the page,
    nothing is loaded from elsewhere. Raises ValueError for a formula that has an unknown command.
    """
    figures = itertools.count()
    parts: list[dict[str, Any]] = [
        {
            "title": section.title,
            "short": section.short or section.title,
            "anchor": f"s{number}-{re.sub('[^a-z0-9]+', '-', section.title.lower()).strip('-')}",
            "formulas": [mathml(latex) for latex in section.formulas],
            "text": section.text,
            "tables": section.tables,
            "pictures": [{"svg": _svg(p, f"f{next(figures)}"), "caption": p.caption} for p in section.pictures],
            "code": section.code,
        }
        for number, section in enumerate(sections)
    ]
    page = _environment().get_template("report.html").render(title=title, summary=summary, sections=parts)
    return write_text(path, page)


def _environment() -> Environment:
    return Environment(loader=PackageLoader("manifold_id"), autoescape=True, undefined=StrictUndefined)


def _svg(picture: Picture, prefix: str) -> Markup:
    """Return a figure as an <svg> element, titled and described, whose ids occur nowhere else on the page."""
    with matplotlib.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "path"}):
        stream = io.StringIO()
        picture.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'\bhref="#', f'href="#{prefix}-', svg).replace("url(#", f"url(#{prefix}-")
    head, body = svg.split(">", 1)
    head = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", head)  # an <svg> inside HTML needs no namespaces
    named = f'role="img" aria-labelledby="{prefix}-title {prefix}-desc"'
    title, caption = escape(_heading(picture.figure) or picture.caption), escape(picture.caption)
    return Markup(
        f'{head} {named}><title id="{prefix}-title">{title}</title><desc id="{prefix}-desc">{caption}</desc>{body}'
    )


def _heading(figure: Figure) -> str:
    """Return the title of the first axes of a figure that have one."""
    return next((text for text in (ax.get_title() for ax in figure.axes) if text), "")
