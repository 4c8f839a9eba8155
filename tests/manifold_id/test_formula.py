"""Formulas: LaTeX becomes MathML that browsers show by themselves, or is refused."""

from xml.etree import ElementTree

import pytest

from convex_bench.theorems import all_checks
from manifold_id.formula import mathml
from manifold_id.report import Section, write

THEOREMS = {name: check.theorem for name, check in all_checks().items()}


def elements(latex):
    return list(ElementTree.fromstring(mathml(latex)).iter())


def texts(latex, tag):
    return [element.text for element in elements(latex) if element.tag == tag]


@pytest.mark.parametrize("name", THEOREMS)
def test_every_theorem_can_be_shown(name):
    for latex in THEOREMS[name].formulas:
        shown = mathml(latex)
        assert shown.startswith('<math display="block">') and shown.endswith("</math>")
        assert "\\" not in shown and "http" not in shown
        variants = {element.get("mathvariant") for element in elements(latex)}
        assert variants <= {None, "normal"}  # all that browsers still know


def test_fractions_and_indices_keep_their_places():
    (fraction,) = [element for element in elements(r"\frac{a_i}{b}") if element.tag == "mfrac"]
    top, bottom = fraction
    assert ["".join(part.itertext()) for part in (top, bottom)] == ["ai", "b"]


def test_letters_of_a_style_are_characters_of_their_own():
    letters = "\N{SCRIPT CAPITAL M}\N{MATHEMATICAL SCRIPT CAPITAL N}\N{MATHEMATICAL DOUBLE-STRUCK CAPITAL E}"
    assert "".join(texts(r"\mathcal M\mathcal N\mathbb E", "mi")) == letters
    assert texts(r"\mathcal k", "mi") == ["k"]


def test_relations_are_operators():
    assert texts(r"a\sim b\iff c", "mo") == ["\N{TILDE OPERATOR}", "\N{LONG LEFT RIGHT DOUBLE ARROW}"]
    assert texts(r"a\sim b\iff c", "mi") == ["a", "b", "c"]


def test_functions_stand_apart_from_what_follows_but_not_from_a_bracket():
    spaces = [element.get("rspace") for element in elements(r"\log x+\log(x)") if element.text == "log"]
    assert spaces == ["0.167em", "0"]
    assert [e.get("lspace") for e in elements(r"|x|/2") if e.text in ("|", "/")] == ["0"] * 3


@pytest.mark.parametrize("latex", [r"a\qquadz", r"\unknown{x}"])
def test_an_unknown_command_is_refused_and_no_page_is_written(tmp_path, latex):
    with pytest.raises(ValueError, match=r"which is no command"):
        write(tmp_path / "page.html", "t", [], [Section("s", formulas=[latex])])
    assert not list(tmp_path.iterdir())


def test_a_section_shows_its_formulas_and_is_linked_by_its_short_name(tmp_path):
    sections = [Section("A long title", ["text"], formulas=["x<1", "y^2"], short="name")]
    page = write(tmp_path / "page.html", "t", [], sections).read_text(encoding="utf-8")
    assert mathml("x<1") in page and mathml("y^2") in page
    assert '<a href="#s0-a-long-title">name</a>' in page
    assert "<h2>A long title</h2>" in page
