"""report.html of a study: for each problem its certificate, the table, the figures, and how to repeat it."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

from convex_bench.reports.result_tables import logrank_table, median_table, rate_table, study_tables
from convex_bench.storage import StoredFileError, digest, key_of, read_sealed, write_sealed
from convex_bench.studies.results import Results
from manifold_id import __version__, plots
from manifold_id.report import Picture, Section, Table, write


def write_report(results: Results, *, again: bool = True) -> Path:
    """Write DIR/report.html of a results folder and return its path.

    Unless `again`, a page that was written from the same runs is left as it is; DIR/report.json tells, which also has
    the page's sha256.
    """
    study = results.study
    target, stamp = results.folder / "report.html", results.folder / "report.json"
    key = key_of({"results": results.key(), "version": __version__})
    if not again and _is_current(target, stamp, key):
        return target
    tables = study_tables(results)
    summary = [
        f"{len(study['methods'])} methods on {len(study['problems'])} problems, {len(study['seeds'])} seeds each, "
        f"{study['steps']:,} steps, minibatches of {study['batch_size']}; the structure is followed at every step and "
        "compared with that of a certified solution."
    ]
    if results.missing:
        summary.append(f"Unfinished: {results.missing} runs of the study are not there.")
    solutions, facts, curves = results.solutions(), results.facts(), results.curves()
    sections = []
    for name in results.problems:
        if name in tables and name in solutions:
            mine = curves[curves["problem"] == name]
            sections.append(_problem_section(results, name, tables[name], facts[name], mine))
            more = [
                certificate_table(solutions[name], facts[name]),
                median_table(results, name),
                rate_table(results, name),
                logrank_table(results, name),
            ]
            sections.append(Section(f"{name}: certificate, rates, tests", tables=more))
    write(target, _title(results), summary, [*sections, _repeat(results)])
    write_sealed(stamp, {"key": key, "page": digest(target.read_bytes())})
    return target


def _is_current(target: Path, stamp: Path, key: str) -> bool:
    try:
        return bool(read_sealed(stamp) == {"key": key, "page": digest(target.read_bytes())})
    except (StoredFileError, OSError):
        return False


def _title(results: Results) -> str:
    return f"Manifold identification on {', '.join(results.problems)}"


def _problem_section(results: Results, name: str, table: Table, facts: dict[str, Any], curves: pd.DataFrame) -> Section:
    frame = results.frame()
    runs = frame[frame["problem"] == name]
    noun = facts["atom"]
    pictures = [
        Picture(
            plots.active_atoms(curves, facts["active"], facts["atoms"], noun),
            f"{name}: number of active {noun} of the iterate; the line is the certified number.",
        ),
        Picture(plots.precision_recall(curves), f"{name}: precision and recall of the active {noun} of the iterate."),
        Picture(
            plots.identification(runs),
            f"{name}: share of the seeds that have identified the certified structure for good by a step.",
        ),
        Picture(
            plots.decay(curves, "estimator_error", "Error of the gradient estimate", "|estimate - gradient|"),
            f"{name}: error of the gradient estimate that each method uses.",
        ),
        Picture(
            plots.decay(curves, "suboptimality", "Suboptimality", "F(w) - F*"),
            f"{name}: objective above the certified optimum.",
        ),
    ]
    return Section(name, [describe(facts), *why(facts)], [Table(table.columns, table.rows, note=table.note)], pictures)


def describe(facts: dict[str, Any]) -> str:
    """Return one sentence about a problem and its solution."""
    lam = "" if facts["lam"] is None else f", lam = {facts['lam']:.4g}"
    share = "" if facts["lam_ratio"] is None else f" = {facts['lam_ratio']:.3g} lambda_max"
    names = ": " + shorten(", ".join(facts["active_names"]), 300, placeholder=" ...") if facts["active_names"] else ""
    return (
        f"{facts['rows']:,} rows, {facts['columns']:,} columns, {facts['loss']} loss, {facts['penalty']}{lam}{share}. "
        f"At the certified solution {facts['active']} of {facts['atoms']} {facts['atom']} are active{names}."
    )


def why(facts: dict[str, Any]) -> list[str]:
    """Return sentences that set margin, noise and smallest active norm against each other."""
    said = []
    if facts["tightest_margin"] is not None and facts["tightest_noise"]:
        name = "" if facts["tightest_name"] is None else f", {facts['tightest_name']},"
        ratio = facts["tightest_noise"] / facts["tightest_margin"] if facts["tightest_margin"] > 0 else np.inf
        said.append(
            f"Margin: the gradient of the tightest inactive atom{name} may move by {facts['tightest_margin']:.3g} "
            f"({facts['relative_margin']:.2%} of its threshold) before the atom becomes active. Noise: the gradient of "
            f"one row deviates there by {facts['tightest_noise']:.3g} (root mean square), {ratio:.3g} times the "
            "margin. A method stays on the manifold once the error of its gradient estimate is below the margin: where "
            "the estimate keeps the noise of a minibatch and the ratio is large, atoms become active again and again, "
            "whatever the step size."
        )
    if facts["smallest_active"] is not None:
        said.append(
            f"The smallest active atom has norm {facts['smallest_active']:.3g}: fluctuations of the iterate of that "
            "size switch it off (late false negatives), which a smaller step prevents."
        )
    return said


def certificate_table(solution: Any, facts: dict[str, Any]) -> Table:
    """Return the proof that comes with the solution, and the noise beside the margin."""
    rows = [
        ["status", solution.status],
        ["objective", f"{solution.value:.15g}"],
        ["duality gap", f"{solution.gap:.1e}"],
        ["largest relative residual", f"{solution.residual.max(initial=0.0):.1e}"],
        [f"active {facts['atom']}", f"{facts['active']} of {facts['atoms']}"],
        ["smallest margin", f"{solution.min_margin:.4g} ({solution.relative_margin:.2%} of its threshold)"],
        *([] if facts["tightest"] is None else [["tightest atom", solution.name(facts["tightest"])]]),
        ["smallest active norm", f"{solution.smallest_active:.4g}"],
        ["noise of one row's gradient", f"{facts['noise']:.4g}"],
        ["its part on the tightest atom", "" if facts["tightest_noise"] is None else f"{facts['tightest_noise']:.4g}"],
        ["restricted curvature", f"{solution.curvature:.4g}"],
        ["Lipschitz constant", f"{solution.lipschitz:.4g}"],
        ["solver", f"{solution.method}, {solution.iterations} steps, {solution.seconds:.3f} s"],
    ]
    return Table(["certificate", ""], rows, title="Certificate of the ground truth", words=(0, 1))


def _repeat(results: Results) -> Section:
    study = results.study
    seeds = study["seeds"]
    consecutive = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    settings = [
        ["seeds", f"{seeds[0]} ... {seeds[-1]}" if consecutive and len(seeds) > 1 else ", ".join(map(str, seeds))],
        ["steps", f"{study['steps']:,}"],
        ["batch size", str(study["batch_size"])],
        ["rows drawn", "independently" if study["replacement"] else "by a new shuffle every epoch"],
        ["persistence", f"{study['persistence']:g}"],
    ]
    methods = [[name, text] for name, text in study["methods"].items()]
    command = study["command"] or "from Python: convex_bench.Study(...).run(out=...)"
    return Section(
        "How to repeat it",
        tables=[
            Table(["setting", ""], settings, title="Settings", words=(0, 1)),
            Table(["method", "parameters"], methods, title="Methods", words=(0, 1)),
            Table(["package", "version"], [[k, v] for k, v in study["versions"].items()], title="Versions"),
        ],
        code=[command],
    )
