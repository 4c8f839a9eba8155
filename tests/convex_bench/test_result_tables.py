"""The table of a study: its numbers are those of the frame, and it fits the terminal."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from convex_bench import Problem, Study
from convex_bench.reports.result_tables import logrank_table, median_table, rate_table, study_tables, terminal_tables
from manifold_id.methods import RMDA, ProxSGD
from manifold_id.regularizers import GroupLasso
from manifold_id.statistics import median, median_time, proportion


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12))
    y = np.sign(X[:, :3].sum(axis=1) + 0.3 * rng.standard_normal(60))
    problem = Problem(X, y, regularizer=GroupLasso(0.1, groups=3))
    methods = {"RMDA": RMDA(lr=0.05), "averaged": RMDA(lr=0.05, momentum=0.5), "ProxSGD": ProxSGD(lr=0.05)}
    study = Study({"[toy]": problem}, methods, seeds=6, steps=2000)
    return study.run(tmp_path_factory.mktemp("study"), progress=False)


def cells(table):
    return {row[0]: dict(zip(table.columns[1:], row[1:], strict=True)) for row in table.rows}


def test_numbers(results):
    frame = results.frame()
    shown = cells(study_tables(results)["[toy]"])
    assert list(shown) == ["RMDA", "averaged", "ProxSGD"]
    for method, runs in frame.groupby("method"):
        found = int(runs.identified.sum())
        share = proportion(found, 6, method="exact")
        assert shown[method]["identified"] == f"{found}/6 [{share.low:.0%}, {share.high:.0%}]"
        assert shown[method]["last change"] == f"{runs.last_change.median():,.0f}"
        assert shown[method]["wrong"] == f"{runs.wrong_share.median():.1%}"
        assert float(shown[method]["estimator error"]) == pytest.approx(runs.estimator_error.median(), rel=6e-3)
        time = median_time(runs.identified_at, runs.steps)
        assert shown[method]["median step"].startswith(
            "not reached" if np.isinf(time.value) else f"{time.value:,.0f} ["
        )


def test_medians_have_intervals_and_keep_the_two_kinds_of_errors_apart(results):
    frame = results.frame()
    shown = cells(median_table(results, "[toy]"))
    for method, runs in frame.groupby("method"):
        for name in ("last_false_positive", "last_false_negative"):
            value, low, high = median(runs[name])
            expected = "never" if np.isnan(value) else f"{value:,.0f}"
            if np.isfinite(low):
                expected += f" [{low:,.0f}, {high:,.0f}]"
            assert shown[method][name.replace("_", " ")] == expected
    assert not frame.last_false_positive.equals(frame.last_false_negative)


def test_a_proximal_point_that_differs_has_columns_of_its_own(results):
    shown = cells(study_tables(results)["[toy]"])
    found = int(results.frame().query("method == 'averaged'").prox_identified.sum())
    assert shown["averaged"]["prox point: identified"].startswith(f"{found}/6")
    assert shown["RMDA"]["prox point: identified"] == ""


@pytest.mark.parametrize("width", [80, 100, 250])
def test_fits_the_terminal(results, width):
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    tables = terminal_tables(results, width)
    for table in tables:
        console.print(table)
    lines = stream.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert sum("ProxSGD" in line for line in lines) == len(tables)  # no cell is broken into lines
    assert sum("0/6" in line or "6/6" in line for line in lines) >= 2
    assert lines[0].startswith("[toy] (")
    assert (len(tables) == 1) == (width == 250)


def test_rates_and_tests(results):
    slopes = cells(rate_table(results, "[toy]"))
    curves = results.curves().query("method == 'RMDA' and step >= 200")
    middle = curves.groupby("step").estimator_error.median()
    slope = np.polyfit(np.log(middle.index), np.log(middle), 1)[0]
    assert float(slopes["RMDA"]["estimator error"].split()[0]) == pytest.approx(slope, abs=0.006)
    p = cells(logrank_table(results, "[toy]"))
    assert p["RMDA"]["RMDA"] == ""
    assert p["RMDA"]["ProxSGD"] == p["ProxSGD"]["RMDA"]


def test_errors_at_rounding_have_no_rate(results):
    quiet = results.curves().assign(suboptimality=0.0)
    changed = type("R", (), {"curves": lambda self: pd.DataFrame(quiet)})()
    assert {row["suboptimality"] for row in cells(rate_table(changed, "[toy]")).values()} == {"at rounding"}
