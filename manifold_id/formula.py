"""LaTeX as MathML Core, which browsers show without a script and screen readers read."""

from __future__ import annotations

import itertools
import re
import unicodedata
from xml.etree import ElementTree

from markupsafe import Markup

from manifold_id.validation import one_line


def mathml(latex: str) -> Markup:
    """Return a displayed formula as a <math> element.

    Raises
    ------
    ValueError
        If the LaTeX has a command that is not known.
    """
    from latex2mathml.converter import convert  # reads a long table of symbols

    root = ElementTree.fromstring(convert(latex, display="block"))
    for parent in root.iter():
        children = list(parent)
        for element, following in itertools.zip_longest(children, children[1:]):
            _to_core(element, following)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # a <math> inside HTML needs no namespace
        if unknown := re.search(r"\\\S*", element.text or ""):
            raise ValueError(f"latex={latex!r} has {unknown[0]}, which is no command that can be shown: write another")
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def check_label(name: str, label: str) -> None:
    """Raise ValueError unless figures can draw `label`: one line, in which what stands between two $ is a formula."""
    one_line(name, label)
    if "$" not in label:
        return
    from matplotlib.cbook import is_math_text  # takes a second to import, and few labels have a formula
    from matplotlib.mathtext import MathTextParser

    if not is_math_text(label):
        return
    try:
        MathTextParser("path").parse(label)
    except ValueError as error:
        raise ValueError(
            f"{name}={label!r} is no formula that figures can draw: correct what stands between its $, or write \\$ "
            "where a dollar is meant"
        ) from error


def _to_core(element: ElementTree.Element, following: ElementTree.Element | None) -> None:
    """Change what MathML Core has dropped or shows in another way than TeX does."""
    text = element.text or ""
    variant = element.get("mathvariant")
    if variant in _LETTERS:
        del element.attrib["mathvariant"]
        element.text = "".join(_letter(_LETTERS[variant], c) for c in text)
    elif text in ("|", "/"):
        element.attrib.update(lspace="0", rspace="0")
    elif _kind(element) == "mi" and not text.isalnum() and not text.startswith("\\"):
        element.tag = element.tag.replace("}mi", "}mo")  # a relation or a separator: its spaces are an operator's
        element.text = text.replace("~", "\N{TILDE OPERATOR}")
    elif _kind(element) in ("mi", "mo") and len(text) > 1 and text.isalpha():
        element.tag = element.tag.replace("}mi", "}mo")  # a function's name: a thin space, none before its bracket
        bracket = following is not None and (following.text or "")[:1] in ("(", "[")
        element.attrib.update(lspace="0.167em", rspace="0" if bracket else "0.167em")


_LETTERS = {"script": "SCRIPT", "double-struck": "DOUBLE-STRUCK"}


def _letter(style: str, letter: str) -> str:
    """Return the character of its own that a capital letter has in a style; other characters as they are."""
    for prefix in ("MATHEMATICAL ", ""):
        try:
            return unicodedata.lookup(f"{prefix}{style} CAPITAL {letter}") if letter.isupper() else letter
        except KeyError:
            continue
    return letter


def _kind(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
