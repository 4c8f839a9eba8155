"""Studies: validated before work, stored run by run, resumed after any kind of stop, and free when unchanged."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convex_bench import Problem, Results, Study, solve
from convex_bench.reports.report import write_report
from convex_bench.storage import StoredFileError, write_sealed
from convex_bench.studies import blocks
from manifold_id.methods import RDA, RMDA, Method, ProxSGD, State
from manifold_id.regularizers import L1, GroupLasso

ROOT = Path(__file__).resolve().parents[2]
METHODS = {"RMDA": RMDA(lr=0.05), "ProxSGD": ProxSGD(lr=0.05)}


def make_problem(seed=0, lam=0.1):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 12))
    y = np.sign(X[:, :3].sum(axis=1) + 0.3 * rng.standard_normal(60))
    return Problem(X, y, regularizer=GroupLasso(lam, groups=3))


def make_study(**changes):
    return Study(**({"problems": {"toy": make_problem()}, "methods": METHODS, "seeds": 3, "steps": 400} | changes))


def run(study, folder, **options):
    return study.run(folder, progress=False, **options)


@pytest.fixture
def calls(monkeypatch):
    """The (method name, seeds) of every call of the engine."""
    made = []
    original = blocks.engine.run

    def counted(problem, method, seeds, *args, **options):
        made.append((type(method).__name__, list(seeds)))
        return original(problem, method, seeds, *args, **options)

    monkeypatch.setattr(blocks.engine, "run", counted)
    return made


def facts(results):
    """The frame without what depends on the clock."""
    frame = results.frame().drop(columns=["seconds", "steps_per_second"])
    return frame.sort_values(["problem", "method", "seed"], ignore_index=True)


def same(first, second):
    pd.testing.assert_frame_equal(facts(first), facts(second), check_exact=True)
    pd.testing.assert_frame_equal(first.curves(), second.curves(), check_exact=True)
    left, right = first.traces(), second.traces()
    assert set(left) == set(right)
    for cell, trace in left.items():
        for name in ("initial", "step", "atom", "new"):
            np.testing.assert_array_equal(getattr(trace, name), getattr(right[cell], name))


# --- what a study gives -----------------------------------------------------------------------------------------


def test_results_of_a_study(tmp_path):
    problem = make_problem()
    results = run(make_study(), tmp_path)
    frame = results.frame()
    assert len(frame) == 6
    assert set(zip(frame.method, frame.seed, strict=True)) == {(m, s) for m in METHODS for s in range(3)}
    assert (frame.steps == 400).all()
    assert (frame.solution == "certified").all()
    assert frame.compiled.all()
    reference = solve(problem)
    stored = results.solutions()["toy"]
    np.testing.assert_array_equal(stored.w, reference.w)
    np.testing.assert_array_equal(stored.codes, reference.codes)
    assert dataclasses.fields(stored) == dataclasses.fields(reference)
    assert stored.status == "certified"
    curves = results.curves()
    last = curves[curves.step == 400].merge(frame, on=["problem", "method", "seed"])
    np.testing.assert_array_equal(last.suboptimality_x, last.suboptimality_y)
    np.testing.assert_array_equal(last.estimator_error_x, last.estimator_error_y)


def test_curves_say_what_the_change_logs_say(tmp_path):
    results = run(make_study(), tmp_path)
    codes = results.solutions()["toy"].codes
    curves = results.curves()
    traces = results.traces()
    for row in curves.itertuples():
        active = traces[row.problem, row.method, row.seed].structure_at(int(row.step)) > 0
        hits = (active & (codes > 0)).sum()
        assert row.active == active.sum()
        assert row.recall == pytest.approx(hits / (codes > 0).sum())
        assert row.precision == pytest.approx(hits / active.sum() if active.any() else 1.0)
    for name in results.folder.joinpath("runs").iterdir():
        name.unlink()
    with pytest.warns(UserWarning, match=r"lacks \d+ of the study's runs"):
        empty = Results.load(results.folder).curves()
    assert empty.empty and list(empty) == list(curves)


def test_summary_is_the_traces(tmp_path):
    results = run(make_study(methods={"averaged": RMDA(lr=0.05, momentum=0.5)}), tmp_path)
    codes = results.solutions()["toy"].codes
    assert set(results.traces()) == set(results.traces(prox=True)) == {("toy", "averaged", s) for s in range(3)}
    for row in results.frame().itertuples():
        for prefix, prox in (("", False), ("prox_", True)):
            trace = results.traces(prox=prox)["toy", "averaged", row.seed]
            structures = [trace.structure_at(t) for t in range(401)]
            wrong = [t for t in range(401) if not np.array_equal(structures[t], codes)]
            settled = max(wrong) + 1 if wrong else 0
            held = settled <= 200
            assert getattr(row, f"{prefix}identified") == held
            at = getattr(row, f"{prefix}identified_at")
            assert at == settled if held else np.isnan(at)
            share = np.mean([not np.array_equal(structures[t], codes) for t in range(301, 401)])
            assert getattr(row, f"{prefix}wrong_share") == pytest.approx(share, abs=1e-12)
    with pytest.raises(KeyError):
        results.traces()["toy", "averaged", 99]
    with pytest.raises(ValueError, match="did you mean 'averaged'"):
        results.traces(method="average")


def test_threads_and_chunks_change_nothing(tmp_path, monkeypatch, calls):
    one = run(make_study(seeds=5), tmp_path / "one", jobs=1)
    count = len(calls)
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 1e-9)
    two = run(make_study(seeds=5), tmp_path / "two", jobs=2)
    assert [seeds for _, seeds in calls[count:]] == 2 * [[0, 1], [2, 3], [4]]
    same(one, two)


def test_seeds_by_name(tmp_path):
    chosen = run(make_study(seeds=[7, 2]), tmp_path / "chosen")
    assert list(chosen.frame().seed) == [7, 2, 7, 2]
    many = facts(run(make_study(seeds=8), tmp_path / "many"))
    pd.testing.assert_frame_equal(facts(chosen), many[many.seed.isin([2, 7])].reset_index(drop=True), check_exact=True)


def test_groups_are_called_by_their_labels(tmp_path):
    plain = make_problem(lam=0.15)
    labels = np.repeat(["zip", "age", "job", "city"], 3)  # the planted features are those of "zip"
    named = plain.with_regularizer(GroupLasso(0.15, groups=labels))
    results = run(make_study(problems={"plain": plain, "named": named}, seeds=1, steps=40), tmp_path)
    solution = results.solutions()["named"]
    active = sorted({label for label, w in zip(labels, solution.w, strict=True) if w})
    assert solution.names[solution.codes > 0].tolist() == active and "zip" in active
    assert f"{len(active)} of 4: {', '.join(active)}\n" in str(solution)
    tightest = results.facts()["named"]["tightest_name"]
    assert tightest == solution.names[np.argmin(solution.margin)] and tightest not in active
    page = write_report(results).read_text(encoding="utf-8")
    assert f"{len(active)} of 4 groups are active: {', '.join(active)}." in page
    assert f"the tightest inactive atom, {tightest}, may move" in page
    assert results.solutions()["plain"].names is None and results.facts()["plain"]["active_names"] is None
    renamed = plain.with_regularizer(GroupLasso(0.15, groups=np.char.upper(labels)))
    again = run(make_study(problems={"named": renamed}, seeds=1, steps=40), tmp_path)
    assert again.facts()["named"]["active_names"] == [name.upper() for name in active]


def test_load_opens_what_run_returned(tmp_path):
    same(run(make_study(), tmp_path), Results.load(tmp_path))


def test_load_refuses_another_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no results folder"):
        Results.load(tmp_path)


# --- nothing is computed twice ----------------------------------------------------------------------------------


def test_unchanged_study_costs_nothing(tmp_path, monkeypatch):
    first = run(make_study(), tmp_path)
    monkeypatch.setattr(blocks.engine, "run", lambda *a, **k: pytest.fail("engine called"))
    monkeypatch.setattr("convex_bench.studies.stored_solution.solve", lambda *a, **k: pytest.fail("solved again"))
    same(first, run(make_study(), tmp_path))


def test_only_what_is_new_is_computed(tmp_path, calls):
    run(make_study(), tmp_path)
    calls.clear()
    run(make_study(seeds=5), tmp_path, jobs=2)
    assert calls == [("RMDA", [3, 4]), ("ProxSGD", [3, 4])]
    calls.clear()
    run(make_study(methods=METHODS | {"RMDA": RMDA(lr=0.06)}), tmp_path, jobs=3)
    assert calls == [("RMDA", [0, 1, 2])]
    calls.clear()
    names = {"problems": {"renamed": make_problem()}, "methods": {"A": METHODS["RMDA"], "B": METHODS["ProxSGD"]}}
    results = run(make_study(**names, persistence=0.1), tmp_path)
    assert calls == []
    assert set(results.frame().problem) == {"renamed"}
    assert set(results.frame().method) == {"A", "B"}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 401},
        {"batch_size": 2},
        {"replacement": False},
        {"problems": {"toy": make_problem(seed=1)}},
        {"problems": {"toy": make_problem(lam=0.11)}},
    ],
)
def test_every_setting_is_part_of_the_key(tmp_path, calls, change):
    run(make_study(methods={"RMDA": METHODS["RMDA"]}), tmp_path, jobs=3)
    run(make_study(methods={"RMDA": METHODS["RMDA"]}, **change), tmp_path, jobs=3)
    assert len(calls) == 2


def test_persistence_is_applied_when_the_table_is_made(tmp_path):
    settled = run(make_study(persistence=0.0), tmp_path).frame()
    strict = run(make_study(persistence=1.0), tmp_path).frame()
    assert settled.identified.sum() >= strict.identified.sum()
    assert (strict.identified_at.dropna() == 0).all()
    assert (settled.identified_at.dropna() <= 400).all()


def test_force_computes_everything_again(tmp_path, calls):
    first = run(make_study(), tmp_path, jobs=3)
    calls.clear()
    second = run(make_study(), tmp_path, jobs=3, force=True)
    assert calls == [("RMDA", [0, 1, 2]), ("ProxSGD", [0, 1, 2])]
    same(first, second)


# --- stops and damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_resume_after_a_stop_in_the_middle(tmp_path, monkeypatch, error):
    whole = run(make_study(seeds=6), tmp_path / "whole", jobs=2)
    original = blocks.engine.run
    made = []

    def stops(problem, method, seeds, *args, **options):
        made.append(list(seeds))
        if len(made) == 2:
            options["progress"] = lambda steps: (_ for _ in ()).throw(error)
        return original(problem, method, seeds, *args, **options)

    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 1e-9)
    monkeypatch.setattr(blocks.engine, "run", stops)
    with pytest.raises(type(error), match=r"broken|stopped: 2 of 12 runs are stored in .*the same command goes on"):
        run(make_study(seeds=6), tmp_path / "cut", jobs=2)
    with pytest.warns(UserWarning, match="lacks 10 of the study's runs"):
        partial = Results.load(tmp_path / "cut")
    assert list(partial.frame().seed) == [0, 1]
    assert partial.missing == 10
    resumed = run(make_study(seeds=6), tmp_path / "cut", jobs=2)
    assert made == [[0, 1], [2, 3], [2, 3], [4, 5], [0, 1], [2, 3], [4, 5]]
    same(whole, resumed)


def test_resume_after_sigkill(tmp_path, calls):
    code = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        from convex_bench.studies import blocks
        from test_study import make_study
        blocks.BLOCK_SECONDS = 1e-9
        print("ready", flush=True)
        make_study(seeds=16, steps=20_000).run({str(tmp_path / "cut")!r}, jobs=2, progress=False)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "cut" / "runs").glob("[!.]*.runs")):
            assert process.poll() is None, "the study ended before it could be killed"
            assert time.monotonic() < deadline, "no run was stored"
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    with pytest.warns(UserWarning, match=r"lacks \d+ of the study's runs"):
        kept = Results.load(tmp_path / "cut")
    done = {(m, s) for m, s in zip(kept.frame().method, kept.frame().seed, strict=True)}
    assert 2 <= len(done) < 32
    resumed = run(make_study(seeds=16, steps=20_000), tmp_path / "cut", jobs=2)
    assert {(m, s) for m, seeds in calls for s in seeds} == {(m, s) for m in METHODS for s in range(16)} - done
    assert resumed.missing == 0
    same(run(make_study(seeds=16, steps=20_000), tmp_path / "whole"), resumed)
    assert computed(tmp_path / "cut") == computed(tmp_path / "whole")


def computed(folder):
    """The bytes of all files but those of what is measured."""
    files = [path for path in sorted(folder.rglob("[!.]*")) if path.is_file() and path.suffix != ".measured"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_all(folder):
    results = Results.load(folder)
    frame, curves = results.frame(), results.curves()
    for prox in (False, True):
        dict(results.traces(prox=prox))
    solutions, found = results.solutions(), results.facts()
    assert results.missing == 0
    return frame, curves, solutions, found


def test_two_runs_are_the_same_bytes_but_for_what_is_measured(tmp_path):
    study = make_study(methods=METHODS | {"averaged": RMDA(lr=0.05, momentum=0.5)}, steps=100)
    folders = [tmp_path / name for name in ("one", "two", "processes")]
    for folder, where in zip(folders, ({"jobs": 1}, {"jobs": 2}, {"processes": 2}), strict=True):
        run(study, folder, **where)
    first = computed(folders[0])
    assert {name.split(".", 1)[1] for name in first} == {"json", "0.runs", "solution.npz"}
    assert first == computed(folders[1]) == computed(folders[2])
    assert len(list(folders[0].rglob("*.measured"))) == 3 + 1


@pytest.mark.parametrize("damage", ["bits", "folder", "empty"])
def test_no_damaged_file_is_read_and_a_rerun_mends_it(tmp_path, damage):
    study = make_study(methods={"averaged": RMDA(lr=0.05, momentum=0.5)}, seeds=2, steps=60)
    run(study, tmp_path)
    whole, rng = computed(tmp_path), np.random.default_rng(0)
    paths = [path for path in sorted(tmp_path.rglob("[!.]*")) if path.is_file()]
    assert len(paths) == 1 + 3 + 2
    for path in paths:
        content = path.read_bytes()
        for _ in range(12 if damage == "bits" else 1):
            if damage == "bits":
                bit = int(rng.integers(8 * len(content)))
                place = bit // 8
                changed = bytes([content[place] ^ 1 << bit % 8])
                path.write_bytes(content[:place] + changed + content[place + 1 :])
            elif damage == "empty":
                path.write_bytes(b"")
            else:
                path.unlink()
                path.mkdir()
                (path / "inside").write_text("")
            with pytest.raises(StoredFileError, match=f"{re.escape(str(path))}' .*: run the same study or path again"):
                read_all(tmp_path)
        run(study, tmp_path)
        assert computed(tmp_path) == whole
        read_all(tmp_path)


def test_a_deleted_solution_is_named_and_solved_again(tmp_path):
    results = run(make_study(seeds=1, steps=60), tmp_path)
    whole = computed(tmp_path)
    for path in sorted((tmp_path / "problems").iterdir()):
        path.unlink()
        with pytest.raises(StoredFileError, match=re.escape(path.name)):
            write_report(results)
        run(make_study(seeds=1, steps=60), tmp_path)
        assert computed(tmp_path) == whole


def test_a_damaged_page_is_written_again(tmp_path):
    results = run(make_study(seeds=1, steps=60), tmp_path)
    page = write_report(results).read_bytes()
    for path in (tmp_path / "report.html", tmp_path / "report.json"):
        path.write_bytes(path.read_bytes()[:-20])
        assert len(write_report(results, again=False).read_bytes()) == len(page)


def test_a_folder_in_the_place_of_the_page_is_one_error(tmp_path):
    results = run(make_study(seeds=1, steps=60), tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write_report(results, again=False)
    assert error.value.filename == str(tmp_path / "report.html")


def test_results_of_another_version_are_refused(tmp_path):
    results = run(make_study(seeds=1, steps=60), tmp_path)
    write_sealed(tmp_path / "study.json", results.study | {"schema": 3})
    with pytest.raises(StoredFileError, match=r"study.json' is of another version.*run the same study or path again"):
        Results.load(tmp_path)
    assert run(make_study(seeds=1, steps=60), tmp_path).missing == 0


def test_damaged_solution_is_computed_again(tmp_path, calls):
    first = run(make_study(), tmp_path)
    (path,) = (tmp_path / "problems").glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    calls.clear()
    second = run(make_study(), tmp_path)
    assert calls == []
    np.testing.assert_array_equal(first.solutions()["toy"].w, second.solutions()["toy"].w)


# --- other people's methods, and problems without a certain manifold ----------------------------------------------


@dataclasses.dataclass(frozen=True)
class Halving(Method):
    """A method that the engine does not know."""

    lr: float = 0.1

    def init(self, w0):
        return State(0, w0, w0, 0 * w0)

    def update(self, oracle, state, regularizer):
        g = oracle(state.w)
        w = regularizer.prox(state.w - self.lr * g, self.lr)
        return State(state.t + 1, w, w, g)


def test_a_method_of_ones_own(tmp_path, calls):
    study = make_study(methods={"mine": Halving()}, seeds=1, steps=50)
    frame = run(study, tmp_path).frame()
    assert not frame.compiled.any()
    run(study, tmp_path)
    assert len(calls) == 1


def test_degenerate_problem_warns(tmp_path):
    X, y = np.eye(4), np.array([1.0, 0.8, 0.4, 0.1])
    problem = Problem(X, y, "squared", regularizer=L1(0.1))  # gradient of column 3 at the solution is exactly lam
    with pytest.warns(UserWarning, match="'edge' is degenerate"):
        results = run(make_study(problems={"edge": problem}, seeds=1, steps=20), tmp_path)
    assert set(results.frame().solution) == {"degenerate"}


def test_trivial_problem_warns(tmp_path):
    problem = make_problem(lam=make_problem().lambda_max() * 1.5)
    with pytest.warns(UserWarning, match=r"lam=.* >= lambda_max=.*: the solution is zero"):
        run(make_study(problems={"toy": problem}, seeds=1, steps=20), tmp_path)


def test_uncertified_problem_is_refused_before_any_run(tmp_path, monkeypatch, calls):
    failed = dataclasses.replace(solve(make_problem()), status="failed")
    monkeypatch.setattr("convex_bench.studies.stored_solution.solve", lambda problem: failed)
    with pytest.raises(RuntimeError, match="solution of problem 'toy' could not be certified"):
        run(make_study(), tmp_path)
    assert calls == []


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps=0 must be at least 1"),
        ({"steps": 10.5}, TypeError, "steps=10.5 must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size=0 must be at least 1"),
        ({"batch_size": 61}, ValueError, "batch_size=61 is larger than the 60 rows of problem 'toy'"),
        ({"seeds": 0}, ValueError, "seeds=0 must be at least 1"),
        ({"seeds": []}, ValueError, "seeds=.. is empty"),
        ({"seeds": [1, 2, 1]}, ValueError, "holds 1 more than once"),
        ({"seeds": [-1]}, ValueError, "seeds=-1 must be at least 0"),
        ({"seeds": "3"}, TypeError, "seeds='3' must be an integer"),
        ({"seeds": [0.5]}, TypeError, "seeds=0.5 must be an integer"),
        ({"replacement": 1}, TypeError, "replacement=1 must be True or False"),
        ({"persistence": 1.5}, ValueError, "persistence=1.5 must be"),
        ({"problems": {}}, ValueError, "problems={} is empty"),
        ({"methods": {}}, ValueError, "methods={} is empty"),
        ({"problems": make_problem()}, TypeError, "problems must be a mapping"),
        ({"problems": {"toy": 3}}, TypeError, r"problems\['toy'\]=3 must be a Problem"),
        ({"problems": {"": make_problem()}}, TypeError, "problems has the name ''"),
        ({"methods": {"x": RDA}}, TypeError, r"methods\['x'\]=.* must be a Method: make an instance"),
        ({"methods": {"x": "RMDA"}}, TypeError, r"methods\['x'\]='RMDA' must be a Method"),
        ({"methods": {1: RDA()}}, TypeError, "methods has the name 1"),
        (
            {"methods": {"a\tb": RDA()}},
            ValueError,
            r"methods name='a\\tb' has the character '\\t': use what can be shown",
        ),
        ({"problems": {"a\nb": make_problem()}}, ValueError, r"problems name='a\\nb' has the character '\\n'"),
        ({"problems": {"a\ud800": make_problem()}}, ValueError, "problems name=.* has the character"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        make_study(**change)


def test_method_without_a_repr_is_refused():
    class Nameless(Method):
        init = update = None

    with pytest.raises(TypeError, match=r"methods\['x'\]=.*make its class a dataclass"):
        make_study(methods={"x": Nameless()})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"out": None}, TypeError, "out=None must be a path"),
        ({"out": b"x"}, TypeError, "out=b'x' must be a path"),
        ({"out": ""}, ValueError, "out='' is no path"),
        ({"out": "a\0b"}, ValueError, r"out='a\\x00b' is no path"),
        ({"force": "yes"}, TypeError, "force='yes' must be True or False"),
        ({"progress": 1}, TypeError, "progress=1 must be True or False"),
        ({"command": 5}, TypeError, "command=5 must be a text or None"),
    ],
)
def test_run_arguments_of_a_wrong_kind(tmp_path, monkeypatch, change, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        make_study().run(**{"out": "out", "progress": False} | change)
    assert not list(tmp_path.iterdir())


def test_bad_run_arguments(tmp_path, calls):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out=.* is no folder that can be written"):
        run(make_study(), tmp_path / "file")
    with pytest.raises(ValueError, match="jobs=0 must be at least 1"):
        run(make_study(), tmp_path / "out", jobs=0)
    assert calls == []
    assert not (tmp_path / "out").exists()
