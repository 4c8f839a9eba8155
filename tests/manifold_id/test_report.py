"""Figures carry what was recorded, with labels and legends; the page holds itself together."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from manifold_id import plots
from manifold_id.report import Picture, Section, Table, write


@pytest.fixture
def curves():
    rng = np.random.default_rng(0)
    steps = np.unique(np.geomspace(1, 1000, 12).round())
    parts = []
    for method in ("RMDA", "ProxSGD <b>"):
        for seed in range(5):
            active = rng.integers(2, 9, len(steps))
            error = steps**-0.5 * np.exp(rng.standard_normal(len(steps)))
            columns = {"active": active, "precision": active / 9, "recall": active / 10, "estimator_error": error}
            parts.append(pd.DataFrame({"method": method, "seed": seed, "step": steps, **columns}))
    return pd.concat(parts)


@pytest.fixture
def runs():
    times = [100, 200, 300, np.nan, np.nan]
    parts = [
        pd.DataFrame({"method": m, "seed": range(5), "steps": 1000, "identified_at": t})
        for m, t in (("RMDA", times), ("ProxSGD <b>", [np.nan] * 5))
    ]
    return pd.concat(parts)


def figures(curves, runs):
    return [
        plots.active_atoms(curves, 4, 9),
        plots.precision_recall(curves),
        plots.identification(runs),
        plots.decay(curves, "estimator_error", "Error of the gradient estimate", "|d - grad f(w)|"),
    ]


def test_figures_have_labels_and_legends(curves, runs):
    for figure in figures(curves, runs):
        assert figure.axes[-1].get_xlabel() == "step"
        assert all(ax.get_ylabel() for ax in figure.axes)
        assert figure.axes[0].get_title()
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert any("RMDA" in n for n in names)
        assert any("ProxSGD" in n for n in names)
        styles = {(line.get_color(), str(line.get_linestyle())) for line in figure.axes[0].get_lines()[:2]}
        assert len(styles) == 2


def test_lines_are_the_medians_of_the_data(curves):
    figure = plots.decay(curves, "estimator_error", "", "")
    for line, (_, part) in zip(figure.axes[0].get_lines(), curves.groupby("method", sort=False), strict=True):
        middle = part.groupby("step")["estimator_error"].median()
        np.testing.assert_array_equal(line.get_xdata(), middle.index)
        np.testing.assert_allclose(line.get_ydata(), middle)


def test_identification_ends_at_the_share_of_the_seeds(runs):
    lines = plots.identification(runs).axes[0].get_lines()
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx([3 / 5, 0])
    assert all(line.get_xdata()[-1] == 1000 for line in lines)


class _Page(HTMLParser):
    """Collects ids and references, and checks that elements are closed in order."""

    void = frozenset({"meta", "br", "link", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag, attrs):
        self._attributes(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def _attributes(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src"):
                self.references.append(value)
            self.references += [f"#{target}" for target in re.findall(r"url\(#(.*?)\)", value or "")]


def page(tmp_path, curves, runs, name="report.html"):
    section = Section(
        "Problem <1>",
        ["margin < noise & more"],
        [Table(["method", "identified"], [["ProxSGD <b>", "0/5"]], title="Methods", note="a note")],
        [Picture(f, f'caption "{i}" <i>') for i, f in enumerate(figures(curves, runs))],
        code=["manifold-id study --out 'a & b'"],
    )
    return write(tmp_path / name, "Title <&>", ["summary"], [section, Section("Problem <1>")])


def test_page_is_self_contained_and_well_formed(tmp_path, curves, runs):
    text = page(tmp_path, curves, runs).read_text()
    parser = _Page()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids)) > 50
    assert parser.references
    assert {r[1:] for r in parser.references} <= set(parser.ids)  # every reference stays inside the page
    assert "ProxSGD <b>" in parser.text
    assert "<b>" not in text.replace("<body>", "")
    assert text.count("<svg") == text.count('role="img"') == 4


def test_page_is_the_same_for_the_same_input(tmp_path, curves, runs):
    first, second = (page(tmp_path, curves, runs, name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_page_is_whole_or_not_there(tmp_path, curves):
    with pytest.raises(AttributeError):
        write(tmp_path / "report.html", "t", [], [Section("s", pictures=[Picture(None, "no figure")])])
    assert list(tmp_path.iterdir()) == []
