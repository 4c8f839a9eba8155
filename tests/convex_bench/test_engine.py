"""The compiled loop against the pure update of every method, and what a run promises: bits, logs, curves."""

import itertools
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from engine_agreement import assert_agrees, data
from scipy import sparse

from convex_bench import Problem
from convex_bench.engine import iterate, run
from convex_bench.engine.penalties import CODES, prox
from convex_bench.engine.recursions import RECURSIONS
from convex_bench.engine.sampling import draw, stream
from manifold_id.methods import (
    FISTA,
    METHODS,
    RAMDA,
    RDA,
    RMDA,
    SDA,
    NormalMapSGD,
    ProxAdamW,
    ProxGradient,
    ProxSAGA,
    ProxSGD,
    ProxSSI,
    ProxSTORM,
    ProxSVRG,
    SPStorm,
    Stages,
    YangProxSGD,
)
from manifold_id.regularizers import (
    L0,
    L1,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    LHalf,
    NonnegativeL1,
    SparseGroupLasso,
)
from manifold_id.regularizers.penalties import Absolute, Penalty

LABELS = [0, 2, 1, 1, 0, 3, 3, 3, 2, 0, 4, 4]


GROUPS = GroupLasso(0.05, groups=LABELS)
METHOD_CASES = [
    RMDA(lr=0.3),
    RMDA(lr=0.3, momentum=0.2, decay=0.1, stages=Stages((100, 300), 0.5, "sqrt")),
    RMDA(lr=0.3, momentum=0.4, stages=Stages((200,), 0.1, "divide")),
    RMDA(lr=0.3, damping=1.0),
    RDA(gamma=2.0),
    SDA(gamma=2.0),
    ProxSGD(lr=0.2),
    ProxSGD(lr=0.2, momentum=0.1, decay=0.5),
    YangProxSGD(),
    ProxSVRG(epoch=60),
    ProxSAGA(),
    ProxSTORM(),
    SPStorm(lr=0.3, c=3.0, zeta=1.5),
    NormalMapSGD(lr=0.5, prox_step=0.7),
    ProxGradient(),
    FISTA(),
]
PENALTY_CASES = [
    L1(0.03),
    GroupLasso(0.05, groups=LABELS, weights=[1.0, 0.0, 2.0, 0.5, 1.0]),
    ElasticNet(0.03, ridge=0.2),
    ElasticNet(0.05, ridge=0.2, groups=LABELS),
    SparseGroupLasso(0.05, groups=LABELS, l1_ratio=0.4),
    NonnegativeL1(0.03),
    MCP(0.05, gamma=2.5),
    MCP(0.05, gamma=2.5, groups=LABELS),
    SCAD(0.05, a=3.0),
    SCAD(0.05, a=3.0, groups=LABELS),
    L0(0.002),
    L0(0.002, groups=LABELS),
    LHalf(0.01),
    LHalf(0.01, groups=LABELS),
]


def test_every_compiled_form_has_a_case():
    assert set(RECURSIONS) == {type(m) for m in METHOD_CASES} <= set(METHODS.values())


@pytest.mark.parametrize("method", [RAMDA(lr=0.02, momentum=0.5), ProxAdamW(lr=0.02), ProxSSI(lr=0.02)], ids=repr)
def test_methods_without_a_compiled_form_run_by_their_update(method):
    assert_agrees(Problem(*data(), regularizer=GROUPS), method, compiled=False)


@pytest.mark.parametrize("method", METHOD_CASES, ids=repr)
@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_methods_agree_with_their_pure_update(method, kind):
    X, y = data()
    assert_agrees(Problem(X if kind == "dense" else sparse.csr_array(X), y, regularizer=GROUPS), method)


@pytest.mark.parametrize("penalty", PENALTY_CASES, ids=repr)
@pytest.mark.parametrize("method", [ProxSGD(lr=0.2), RMDA(lr=0.05, momentum=0.5)], ids=lambda m: type(m).__name__)
def test_penalties_agree(penalty, method):
    assert_agrees(Problem(*data(), regularizer=penalty), method)


@pytest.mark.parametrize("loss", ["squared", "multinomial"])
@pytest.mark.parametrize("method", [ProxSAGA(), RMDA(lr=0.05), ProxSTORM()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_losses_and_intercept_agree(loss, method, kind):
    X, y = data(loss)
    problem = Problem(X if kind == "dense" else sparse.csr_array(X), y, loss, regularizer=GROUPS, intercept=True)
    assert_agrees(problem, method)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("method", [ProxSAGA(), ProxSVRG(epoch=17), RDA()], ids=lambda m: type(m).__name__)
def test_minibatches_agree(method, replacement):
    assert_agrees(Problem(*data(), regularizer=GROUPS), method, batch_size=7, replacement=replacement)


def test_adaptive_metric_with_entries_and_float32_data():
    X, y = data()
    assert_agrees(Problem(X.astype(np.float32), y, regularizer=L1(0.02)), YangProxSGD())


@pytest.mark.parametrize("step", [0.1, 5.0])
@pytest.mark.parametrize("code", CODES)
def test_no_prox_turns_what_is_not_finite_into_a_number(code, step):
    assert math.isnan(prox(CODES[code], math.nan, step, 0.7, 3.0))
    assert prox(CODES[code], math.inf, step, 0.7, 3.0) == math.inf


def test_a_method_without_compiled_form_runs_in_its_pure_form():
    class Mine(ProxSGD):
        pass

    problem = Problem(*data(), regularizer=GROUPS)
    assert_agrees(problem, Mine(lr=0.2), compiled=False)
    ours, theirs = (run(problem, m, [0], 50)[0] for m in (Mine(lr=0.2), ProxSGD(lr=0.2)))
    np.testing.assert_allclose(ours.w, theirs.w, atol=1e-13)


def test_same_seed_gives_the_same_bits_whatever_the_threads_blocks_and_other_seeds():
    problem = Problem(*data(), regularizer=GROUPS)
    method = RMDA(lr=0.1, momentum=0.5)
    one = run(problem, method, [5], 3000, threads=1)[0]
    two = run(problem, method, [4, 5, 6], 3000, threads=2, checkpoints=np.array([11, 1000]))[1]
    assert one.w.tobytes() == two.w.tobytes()
    for name in ("step", "atom", "new"):
        assert np.array_equal(getattr(one.trace, name), getattr(two.trace, name))
    assert run(problem, method, [6], 3000)[0].w.tobytes() != one.w.tobytes()


def test_logs_that_fill_up_lose_nothing(monkeypatch):
    problem = Problem(*data(), regularizer=GROUPS)
    whole = run(problem, ProxSGD(lr=0.5), [0], 4000)[0].trace
    monkeypatch.setattr("convex_bench.engine.ordinary.seeds._LOG", 1)
    parts = run(problem, ProxSGD(lr=0.5), [0], 4000)[0].trace
    assert len(whole.step) > 100  # the logs hold 16
    for name in ("step", "atom", "new"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("code", list(CODES))
def test_scalar_prox_is_the_global_minimizer(code):
    """Against a fine grid, including steps beyond the convexity of the subproblem."""
    if code == "nonnegative":
        pytest.skip("its scalar part is abs; the sign is the loop's")
    value = {
        "abs": lambda x: 0.7 * x,
        "elastic_net": lambda x: 0.7 * x + 1.5 * x * x,
        "mcp": lambda x: np.where(x < 2.1, 0.7 * x - x * x / 6, 0.735),
        "scad": lambda x: np.select(
            [x <= 0.7, x <= 2.1], [0.7 * x, (2 * 3 * 0.7 * x - x * x - 0.49) / 4], 0.49 * 4 / 2
        ),
        "l0": lambda x: 0.7 * (x > 0),
        "l_half": lambda x: 0.7 * np.sqrt(x),
    }[code]
    grid = np.linspace(0, 8, 400_001)
    for r, step in itertools.product([0.0, 0.3, 0.69, 1.1, 1.9, 2.2, 3.4, 7.0], [0.1, 0.9, 1.7, 2.5, 4.0]):
        cost = value(grid) + (grid - r) ** 2 / (2 * step)
        x = prox(CODES[code], r, step, 0.7, 3.0)
        assert value(np.float64(x)) + (x - r) ** 2 / (2 * step) <= cost.min() + 1e-12


def test_sampling_without_replacement_is_a_new_shuffle_every_epoch():
    state, order = stream(1, 20, False)
    rows = np.zeros(4, np.int64)
    epochs = []
    for _ in range(3):
        seen = []
        for _ in range(5):
            draw(state, order, 20, rows)
            seen += rows.tolist()
        assert sorted(seen) == list(range(20))
        epochs.append(seen)
    assert epochs[0] != epochs[1] != epochs[2]


def test_sampling_with_replacement_is_uniform_and_independent():
    """Chi-squared tests of single rows and of successive pairs, at level 1e-3 each, for one fixed seed."""
    state, order = stream(2, 10, True)
    rows = np.zeros(1, np.int64)
    sample = np.empty(100_000, np.int64)
    for i in range(len(sample)):
        draw(state, order, 10, rows)
        sample[i] = rows[0]
    from scipy.stats import chisquare

    assert chisquare(np.bincount(sample, minlength=10)).pvalue > 1e-3
    pairs = sample[::2] * 10 + sample[1::2]
    assert chisquare(np.bincount(pairs, minlength=100)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 10, "batch_size": 41}, "batch_size=41"),
        ({"steps": 10, "batch_size": 0}, "batch_size=0"),
        ({"steps": 10, "w0": np.zeros(3)}, "w0 has shape"),
    ],
)
def test_bad_arguments(arguments, message):
    problem = Problem(*data(), regularizer=GROUPS)
    with pytest.raises(ValueError, match=message):
        run(problem, RDA(), [0], **arguments)


@dataclass(frozen=True)
class Capped(Penalty):
    """min(lam r, lam cap), a user's own."""

    name = "capped"
    convex = False

    def value(self, r, lam):
        return lam * np.minimum(r, 1.0)

    def derivative(self, r, lam):
        return np.where(r < 1.0, lam, 0.0)

    def prox(self, r, step, lam):
        soft = np.maximum(r - step * lam, 0.0)
        inside = np.minimum(soft, 1.0)
        cost = lam * inside + (inside - r) ** 2 / (2 * step)
        return np.where(np.maximum(r, 1.0) == r, np.where(cost <= lam, inside, r), inside)


@dataclass(frozen=True)
class Doubled(Absolute):
    """2 lam r; its name is inherited."""

    def value(self, r, lam):
        return 2 * lam * r

    def derivative(self, r, lam):
        return 2 * lam

    def slope(self, lam):
        return 2 * lam

    def prox(self, r, step, lam):
        return super().prox(r, step, 2 * lam)


@dataclass(frozen=True, repr=False)
class Own(L1):
    kind: type = Capped

    @property
    def penalty(self):
        return self.kind()


@dataclass(frozen=True, repr=False)
class Halved(L1):
    """L1 with a prox of its own: the form that it inherits is another psi's."""

    def prox(self, w, step):
        return super().prox(w, 0.5 * step)


@pytest.mark.parametrize("psi", [Own(0.05), Own(0.05, kind=Doubled), Halved(0.1)], ids=["new", "inherits", "prox"])
def test_a_users_own_penalty_runs_by_the_pure_update(psi):
    problem = Problem(*data(), regularizer=psi)
    assert_agrees(problem, ProxSGD(lr=0.1), compiled=False)
    if psi != Own(0.05):
        other = Problem(*data(), regularizer=L1(0.05 if isinstance(psi, Halved) else 0.1))
        w = [run(p, ProxSGD(lr=0.1), [0], 50)[0].w for p in (problem, other)]
        np.testing.assert_allclose(*w, atol=1e-14)


def test_machine_code_is_kept_by_the_content_of_the_compiled_files(tmp_path, monkeypatch):
    from convex_bench.engine import compiled as module

    home = Path(module.__file__).parent
    shutil.copytree(home, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_HERE", tmp_path)
    before = module._digest()
    assert module.FOLDER.endswith(before)
    (tmp_path / "runner.py").write_text("# compiles nothing\n")
    assert module._digest() == before
    for name in ("rows.py", "lanes.py", "penalties.py"):
        (tmp_path / name).write_bytes((home / name).read_bytes() + b"# changed\n")
        after = module._digest()
        assert after != before
        before = after


@pytest.mark.parametrize(
    ("method", "seed", "error", "message"),
    [
        (RMDA, 0, TypeError, "must be an instance of a Method"),
        (RMDA(lr=0.1), -1, ValueError, "seed=-1"),
        (RMDA(lr=0.1), 0.5, TypeError, "seed=0.5 must be an integer"),
    ],
)
def test_iterate_names_what_it_refuses(method, seed, error, message):
    problem = Problem(np.eye(3), [1.0, 0.0, 2.0], "squared", L1(0.1))
    with pytest.raises(error, match=message):
        iterate(problem, method, seed=seed)
