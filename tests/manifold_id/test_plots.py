"""Figures: lines and bands are the data's, everything is named, and no global state is touched."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from manifold_id import plots
from manifold_id.statistics import kaplan_meier
from manifold_id.theory.base import Curve, Evidence

METHODS = ("RMDA", "RDA", "ProxSGD", "ProxSGD, momentum", "ProxSVRG")


def curves(methods=METHODS, seeds=7):
    """Checkpoints of some methods, made from a seeded generator."""
    rng, steps = np.random.default_rng(0), np.array([1, 3, 10, 30, 100, 300])
    parts = []
    for i, method in enumerate(methods):
        for seed in range(seeds):
            active = rng.integers(3 + i, 9 + i, len(steps))
            error = (i + 1) * steps**-0.5 * rng.lognormal(0, 0.2, len(steps))
            columns = {"method": method, "seed": seed, "step": steps, "active": active, "estimator_error": error}
            parts.append(pd.DataFrame(columns | {"precision": 3 / active, "recall": rng.random(len(steps))}))
    return pd.concat(parts, ignore_index=True)


def runs():
    rng = np.random.default_rng(1)
    times = {"RMDA": rng.integers(100, 400, 9), "ProxSGD": np.full(9, np.nan)}
    rows = [
        {"method": m, "seed": s, "steps": 1000, "identified_at": t} for m, x in times.items() for s, t in enumerate(x)
    ]
    return pd.DataFrame(rows)


def line(ax, label):
    (found,) = [drawn for drawn in ax.lines if drawn.get_label() == label]
    return found


def legend(figure):
    (box,) = figure.legends
    return [text.get_text() for text in box.texts]


def quantile(data, method, column, q):
    return data[data["method"] == method].groupby("step")[column].quantile(q).to_numpy()


FIGURES = {
    "active": lambda: plots.active_atoms(curves(), 4, 14),
    "precision": lambda: plots.precision_recall(curves()),
    "share": lambda: plots.share(curves(), "recall", "Wrong share", "share of steps"),
    "identification": lambda: plots.identification(runs()),
    "decay": lambda: plots.decay(
        curves(), "estimator_error", "Error of the gradient estimate", "|estimate - gradient|"
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_is_named(name):
    figure = FIGURES[name]()
    assert all(ax.get_ylabel() for ax in figure.axes)
    assert figure.axes[-1].get_xlabel() == "step"
    assert figure.axes[0].get_title()
    methods = ["RMDA (9/9)", "ProxSGD (0/9)"] if name == "identification" else list(METHODS)
    assert [text for text in legend(figure) if not text.startswith("certified")] == methods
    assert all(ax.get_xscale() == "log" for ax in figure.axes)
    figure.canvas.draw()


@pytest.mark.parametrize("name", FIGURES)
def test_methods_differ_in_colour_dash_and_marker(name):
    for ax in FIGURES[name]().axes:
        drawn = [item for item in ax.lines if not item.get_label().startswith("certified")]
        for look in (
            lambda x: to_hex(x.get_color()),
            lambda x: x.get_marker(),
            lambda x: str(x._unscaled_dash_pattern),
        ):
            assert len({look(item) for item in drawn}) == len(drawn)


@pytest.mark.parametrize("method", METHODS)
def test_lines_are_medians_and_bands_are_quantiles(method):
    data = curves()
    pairs = [(plots.active_atoms(data, 4, 14).axes[0], "active")]
    pairs += zip(plots.precision_recall(data).axes, ("precision", "recall"), strict=True)
    pairs += [(plots.share(data, "recall", "t", "y").axes[0], "recall")]
    pairs += [(plots.decay(data, "estimator_error", "t", "y").axes[0], "estimator_error")]
    for ax, column in pairs:
        drawn = line(ax, method)
        np.testing.assert_array_equal(drawn.get_xdata(), [1, 3, 10, 30, 100, 300])
        np.testing.assert_allclose(drawn.get_ydata(), quantile(data, method, column, 0.5))
        band = ax.collections[METHODS.index(method)].get_paths()[0].vertices
        for q, pick in ((0.05, np.min), (0.95, np.max)):
            heights = [pick(band[band[:, 0] == x, 1]) for x in (1, 3, 10, 30, 100, 300)]
            np.testing.assert_allclose(heights, quantile(data, method, column, q))


def test_the_certified_number_is_a_line():
    ax = plots.active_atoms(curves(), 4, 14, "features").axes[0]
    assert set(line(ax, "certified: 4").get_ydata()) == {4}
    assert ax.get_ylabel() == "active features of 14"
    assert ax.get_ylim()[0] == 0


def test_a_level_is_a_line_with_its_label():
    figure = plots.decay(curves(), "estimator_error", "t", "y", level=("margin", 0.02))
    assert set(line(figure.axes[0], "margin").get_ydata()) == {0.02}
    assert legend(figure) == ["margin", *METHODS]


def test_identification_is_one_minus_kaplan_meier():
    data = runs()
    ax = plots.identification(data).axes[0]
    times = data[data["method"] == "RMDA"]["identified_at"].to_numpy()
    curve = kaplan_meier(times, 1000)
    drawn = line(ax, "RMDA (9/9)")
    for step in range(100, 1000, 7):
        shown = drawn.get_ydata()[np.flatnonzero(drawn.get_xdata() <= step)[-1]]
        assert shown == pytest.approx(np.mean(times <= step))
    assert drawn.get_xdata()[-1] == ax.get_xlim()[1] == 1000
    np.testing.assert_allclose(drawn.get_ydata()[:-1], 1 - curve.survival)
    assert not line(ax, "ProxSGD (0/9)").get_ydata().any()


def test_values_that_have_vanished_are_cut():
    data = curves(("RMDA",)).assign(suboptimality=0.0)
    ax = plots.decay(data, "suboptimality", "Suboptimality", "F(w) - F*").axes[0]
    assert set(line(ax, "RMDA").get_ydata()) == {1e-16}


def test_methods_without_values_are_left_out_but_keep_the_colours():
    data = curves()
    data.loc[data["method"] == "RDA", "estimator_error"] = np.nan
    figure = plots.decay(data, "estimator_error", "t", "y")
    assert legend(figure) == [m for m in METHODS if m != "RDA"]
    full = FIGURES["decay"]()
    assert line(figure.axes[0], "ProxSGD").get_color() == line(full.axes[0], "ProxSGD").get_color()


@pytest.mark.parametrize("steps, at", [(1, 1.0), (1, np.nan), (1000, 0.0), (10, 10.0)])
def test_runs_at_the_edge_can_be_drawn(steps, at):
    frame = pd.DataFrame({"method": ["RMDA"], "steps": [steps], "identified_at": [at]})
    figure = plots.identification(frame)
    figure.canvas.draw()
    assert legend(figure) == [f"RMDA ({0 if np.isnan(at) else 1}/1)"]
    empty = curves().iloc[:0]
    plots.active_atoms(empty, 4, 14).canvas.draw()
    plots.precision_recall(empty).canvas.draw()


def test_evidence_draws_what_a_theorem_recorded():
    x = np.array([1.0, 10.0, 100.0])
    agree, seeds = Curve("both agree", x, x, low=x / 2, high=2 * x), Curve("seeds", x, x / 3, kind="points")
    figure = plots.evidence(Evidence("Predicted", "predicted step", "observed step", (agree, seeds), "log", "log"))
    (ax,) = figure.axes
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("Predicted", "predicted step", "observed step")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert legend(figure) == ["both agree", "seeds"]
    np.testing.assert_array_equal(line(ax, "seeds").get_ydata(), x / 3)
    assert line(ax, "seeds").get_linestyle() == "None"
    assert line(ax, "both agree").get_linestyle() != "None"
    assert len(ax.collections) == 1


def test_panels_of_evidence_share_a_legend_and_points_have_error_bars():
    x = np.array([1.0, 2.0, 4.0])
    points = Curve("observed", x, x, low=x - 0.5, high=x + 0.25, kind="points")
    check = Evidence("Check", "x", "y", (points, Curve("equal", x, x)))
    figure = plots.evidence(check, Evidence("Control", "x", "y", (Curve("observed", x, 2 * x, kind="points"),)))
    assert [ax.get_title() for ax in figure.axes] == ["Check", "Control"]
    assert legend(figure) == ["observed", "equal"]
    (bars,) = figure.axes[0].collections
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[v - 0.5, v + 0.25] for v in x]
    with pytest.raises(ValueError, match="panels"):
        plots.evidence()


def test_log_axes_have_powers_of_ten_or_plain_numbers_where_they_are_short():
    long, short = np.geomspace(1, 1e4, 5), np.array([12.0, 40.0, 70.0])
    panels = [Evidence("", "x", "y", (Curve("c", x, x),), "log", "log") for x in (long, short)]
    figure = plots.evidence(*panels)
    figure.canvas.draw()
    texts = [{t.get_text() for t in ax.get_xticklabels()} for ax in figure.axes]
    assert {"10\u2070", "10\u2074"} <= texts[0]
    assert {"20", "50"} <= texts[1]


def test_pyplot_is_not_imported():
    code = "import sys, manifold_id.plots, manifold_id.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shares_are_drawn_from_zero_to_one_and_curves_end_at_zero_on_a_log_axis():
    x = np.array([1.0, 2.0, 3.0])
    low = plots.evidence(Evidence("", "x", "share", (Curve("c", x, x / 100),), yscale="share")).axes[0]
    assert low.get_ylim()[0] <= 0 and low.get_ylim()[1] >= 1
    falling = Curve("c", x, np.array([1.0, 1e-9, 0.0]))
    ended = plots.evidence(Evidence("", "x", "distance", (falling,), yscale="log")).axes[0]
    np.testing.assert_array_equal(line(ended, "c").get_ydata(), [1.0, 1e-9, np.nan])
    assert ended.get_ylim()[0] > 1e-11


def test_network_runs_are_drawn_by_epoch():
    data = curves().rename(columns={"step": "epoch"})
    (ax,) = plots.by_epoch(data, "recall", "Recall", "share of groups", "share").axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("epoch", "share of groups", "linear")
    assert ax.get_ylim()[0] <= 0 and ax.get_ylim()[1] >= 1
    assert all(tick == int(tick) for tick in ax.get_xticks())
    for method in METHODS:
        expected = data[data["method"] == method].groupby("epoch")["recall"].median()
        np.testing.assert_allclose(line(ax, method).get_ydata(), expected)
        assert line(ax, method).get_marker() not in ("", "None", None)
    counted = plots.by_epoch(data, "active", "Changes", "changes in an epoch", "count").axes[0]
    assert counted.get_yscale() == "symlog" and counted.get_ylim()[0] == 0


def test_the_title_speaks_of_seeds_only_where_there_are_several():
    for seeds, words in ((1, "Recall"), (3, "Recall (median and 5-95 % of seeds)")):
        assert plots.share(curves(seeds=seeds), "recall", "Recall", "share").axes[0].get_title() == words


def test_an_axis_of_counts_that_are_all_zero_ends_at_one():
    data = curves().rename(columns={"step": "epoch"}).assign(active=0)
    assert plots.by_epoch(data, "active", "Changes", "changes", "count").axes[0].get_ylim() == (0, 1)


def test_the_trade_off_joins_the_networks_that_none_beats_in_both():
    rows = [
        ("A", 0.0, 0.90),
        ("A", 0.3, 0.91),
        ("A", 0.5, 0.85),
        ("A", 0.6, 0.86),
        ("A", 1.0, 0.1),
        ("B", 0.2, 0.88),
        ("B", 0.2, 0.87),
    ]
    trials = pd.DataFrame(rows, columns=["method", "group_sparsity", "accuracy"])
    (ax,) = plots.trade_off(trials, trials.iloc[[3]], 0.86).axes
    floor, front, single = ax.lines
    assert set(floor.get_ydata()) == {0.86}
    assert front.get_xdata().tolist() == [0.3, 0.6] and single.get_xdata().tolist() == [0.2]
    points, _, rings = ax.collections
    bottom = ax.get_ylim()[0]
    assert bottom == pytest.approx(0.86 - 4 * 0.05) and points.get_offsets()[-1].tolist() == [1.0, bottom]
    assert rings.get_offsets().tolist() == [[0.6, 0.86]]


def test_a_path_joins_the_means_of_a_methods_lambdas_in_order():
    first = [("A", 0.1, 0.5, 0.8), ("A", 0.1, 0.7, 0.9), ("A", 0.01, 0.2, 0.91), ("A", 0.01, 0.2, 0.93)]
    runs = pd.DataFrame([*first, ("B", np.nan, 0, 0.95)], columns=["method", "lam", "group_sparsity", "accuracy"])
    (ax,) = plots.regularization_paths(runs).axes
    path, single = ax.containers
    np.testing.assert_allclose(path.lines[0].get_xydata(), [[0.2, 0.92], [0.6, 0.85]])
    across, up = (bars.get_segments() for bars in path.lines[2])
    deviation = np.sqrt([0.0002, 0.005, 0.02])
    np.testing.assert_allclose(np.ptp(up[0], axis=0), [0, 2 * deviation[0]], atol=1e-12)
    np.testing.assert_allclose(np.ptp(across[1], axis=0), [2 * deviation[2], 0], atol=1e-12)
    np.testing.assert_allclose(single.lines[0].get_xydata(), [[0, 0.95]])
    assert "standard deviation" in ax.get_title()
    assert "standard deviation" not in plots.regularization_paths(runs.iloc[[0, 2]]).axes[0].get_title()
