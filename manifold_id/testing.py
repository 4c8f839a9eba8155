"""Checks of a regularizer or method of one's own, for a test suite: what the contract asks, tried with numbers.

    from manifold_id.testing import check_method, check_regularizer

    def test_mine():
        check_regularizer(MyPenalty(0.3), (7,))
        check_method(MyMethod(lr=0.05))

A failure is an AssertionError that names what does not hold, with the figures. The built-in ones stand the same checks.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from manifold_id.methods.base import Method, State
from manifold_id.regularizers.base import Regularizer

Array = np.ndarray
TRIES = 40  # points that a minimizer is compared with
_TOLERANCE = 1e-9


def check_regularizer(regularizer: Regularizer, shape: tuple[int, ...], *, seed: int = 0) -> None:
    """Check what `Regularizer` promises at random points of `shape` (of one point, without a batch axis).

    prox: no point tried has a smaller psi(x) + |x - v|^2 / (2 step); its residual is 0 there and its margins are not
    negative; firmly nonexpansive where psi is convex; NaN stays NaN; the same in a diagonal metric, where there is one.
    structure: int8, one code an atom, as many as residuals and margins; `tangent` is the orthogonal projection onto a
    space of `dimension`. `lambda_max`, where there is one, separates 0 from the rest. Batches, torch and float32
    give the same; arguments stay as they are; a pickled copy is equal.

    Raises
    ------
    AssertionError
        For the first of these that does not hold.
    """
    assert isinstance(regularizer, Regularizer), f"{regularizer!r} must derive from Regularizer"
    rng = np.random.default_rng(seed)
    for scale in (0.3, 2.0, 20.0):
        for _ in range(8):
            v, step = scale * rng.standard_normal(shape), float(rng.uniform(0.1, 2.0))
            z = _prox(regularizer, v, step)
            _minimizes(regularizer, z, v, step, np.ones(shape), rng, "prox")
            _stationary(regularizer, z, (z - v) / step)
            _nonexpansive(regularizer, z, v, scale * rng.standard_normal(shape), step)
            d = np.exp(rng.uniform(-1.0, 1.0, shape))
            try:
                y = np.asarray(regularizer.prox_metric(v, step, d))
            except (NotImplementedError, ValueError):
                continue
            _minimizes(regularizer, y, v, step, d, rng, "prox_metric")
    points = [np.asarray(regularizer.prox(3.0 * rng.standard_normal(shape), 0.5)) for _ in range(6)]
    for z in points:
        _manifold(regularizer, z, rng)
    _lambda_max(regularizer, rng.standard_normal(shape))
    _not_a_number(regularizer, rng.standard_normal(shape))
    _same_everywhere(regularizer, 3.0 * rng.standard_normal((5, *shape)))
    twin = pickle.loads(pickle.dumps(regularizer))
    assert repr(twin) == repr(regularizer), f"a pickled copy is {twin!r}, not {regularizer!r}"


def _prox(regularizer: Regularizer, v: Array, step: float) -> Array:
    before = v.copy()
    z = np.asarray(regularizer.prox(v, step))
    assert np.array_equal(v, before), "prox changes its argument"
    assert z.shape == v.shape, f"prox returns shape {z.shape} for {v.shape}"
    assert np.isfinite(regularizer.value(z)), f"psi at its prox is {regularizer.value(z)}: it must be finite there"
    return z


def _minimizes(
    regularizer: Regularizer, z: Array, v: Array, step: float, d: Array, rng: np.random.Generator, name: str
) -> None:
    def cost(x: Array) -> float:
        return float(regularizer.value(x)) + float((d * (x - v) ** 2).sum()) / (2.0 * step)

    best = cost(z)
    size = 1.0 + float(np.abs(v).max())
    others = [v, 0.0 * v, np.where(rng.random(v.shape) < 0.5, z, 0.0 * v)]
    others += [z + size * 10.0 ** rng.uniform(-5, 0) * rng.standard_normal(v.shape) for _ in range(TRIES)]
    others += [z + t * (v - z) for t in (-0.1, 0.1, 0.5)]
    others += [z * t for t in (0.9, 1.1)]
    for x in others:
        found = cost(x)
        assert not found < best - _TOLERANCE * (1.0 + abs(best)), (
            f"{name} at {v.tolist()} with step {step} has the cost {best:.12g}, but {x.tolist()} has {found:.12g}"
        )


def _stationary(regularizer: Regularizer, z: Array, g: Array) -> None:
    residual, margin, codes = (np.asarray(a) for a in (regularizer.residual(z, g), regularizer.margin(z, g),
                                                       regularizer.structure(z)))  # fmt: skip
    assert codes.dtype == np.int8, f"structure has dtype {codes.dtype}, not int8"
    assert residual.shape == margin.shape == codes.shape, (
        f"{codes.shape} codes, {residual.shape} residuals, {margin.shape} margins: one for each atom is needed"
    )
    norms = np.asarray(regularizer.atom_norms(z))
    assert norms.shape == codes.shape, f"{norms.shape} atom_norms for {codes.shape} codes: one for each atom is needed"
    assert not (norms[codes > 0] <= 0).any(), "an active atom has the norm 0: it is at its kink"
    size = 1.0 + float(np.abs(g).max())
    assert residual.max(initial=0.0) <= 1e-7 * size, f"the residual at a prox is {residual.max():.3g}, not 0"
    assert margin.min(initial=0.0) >= -1e-7 * size, f"a margin at a prox is {margin.min():.3g}: it must not be negative"
    if (codes > 0).sum() >= 2:  # no normal cone holds a random direction there
        push = 1e3 * size * np.random.default_rng(0).standard_normal(z.shape)
        far = np.asarray(regularizer.residual(z, g + push))
        assert far.max() > 0.0, "the residual does not see a gradient that is far too large"


def _nonexpansive(regularizer: Regularizer, z: Array, v: Array, u: Array, step: float) -> None:
    if not regularizer.convex:
        return
    x = np.asarray(regularizer.prox(u, step))
    inner, square = float(((z - x) * (v - u)).sum()), float(((z - x) ** 2).sum())
    assert square <= inner * (1 + 1e-9) + 1e-12, f"prox is not firmly nonexpansive: {square:.6g} > {inner:.6g}"


def _manifold(regularizer: Regularizer, z: Array, rng: np.random.Generator) -> None:
    codes = np.asarray(regularizer.structure(z))
    assert np.array_equal(np.asarray(regularizer.structure(z.copy())), codes), "structure is not a function of w"
    try:
        dimension = int(regularizer.dimension(codes, z.shape))
        basis = np.eye(z.size).reshape(z.size, *z.shape)
        P = np.stack([np.asarray(regularizer.tangent(codes, e, z)).ravel() for e in basis])
    except NotImplementedError:
        return
    assert np.abs(P - P.T).max() <= 1e-9 and np.abs(P @ P - P).max() <= 1e-9, "tangent is no orthogonal projection"
    assert abs(np.trace(P) - dimension) <= 1e-6, f"the tangent space has dimension {np.trace(P):.6g}, not {dimension}"


def _lambda_max(regularizer: Any, g: Array) -> None:
    try:
        largest = float(regularizer.lambda_max(g))
        zero = 0.0 * g
        held = np.isfinite(np.asarray(regularizer.margin(zero, g)))  # the others are free
        at, below = (
            np.asarray(regularizer.with_lam(largest * share).residual(zero, g))[held].max() for share in (1 + 1e-9, 0.9)
        )
    except (NotImplementedError, AttributeError):
        return
    assert at <= 1e-9 * (1.0 + largest), f"0 is not stationary at lambda_max={largest:.6g}: residual {at:.3g}"
    assert below > 0.0, f"0 is stationary at 0.9 lambda_max={0.9 * largest:.6g} already"


def _not_a_number(regularizer: Regularizer, v: Array) -> None:
    v.reshape(-1)[0] = np.nan
    z = np.asarray(regularizer.prox(v, 0.5))
    assert np.isnan(z).any(), f"prox turns NaN into {z.tolist()}: what is not a number must not become structure"


def _same_everywhere(regularizer: Regularizer, batch: Array) -> None:
    """Batches, torch and float32."""
    single = np.stack([np.asarray(regularizer.prox(v, 0.5)) for v in batch])
    if regularizer.event_ndim == batch.ndim - 1:
        _close("a batch", np.asarray(regularizer.prox(batch, 0.5)), single, 1e-12)
        codes = np.stack([np.asarray(regularizer.structure(z)) for z in single])
        assert np.array_equal(np.asarray(regularizer.structure(single)), codes), "structure of a batch is another"
    low = np.asarray(regularizer.prox(batch[0].astype(np.float32), 0.5))
    assert low.dtype == np.float32, f"prox of float32 returns {low.dtype}"
    _close("float32", low, single[0], 1e-4)
    try:
        import torch
    except ImportError:
        return
    other = regularizer.prox(torch.from_numpy(batch[0]), 0.5)
    assert isinstance(other, torch.Tensor), f"prox of a torch tensor returns {type(other).__name__}"
    _close("torch", other.numpy(), single[0], 1e-12)


def _close(name: str, found: Array, expected: Array, tolerance: float) -> None:
    error = float(np.abs(found - expected).max())
    assert error <= tolerance * (1.0 + float(np.abs(expected).max())), f"prox: {name} differs by {error:.3g}"


class Rows:
    """An oracle on least squares of a few random rows, in NumPy or, by `library`, torch; for `check_method`."""

    def __init__(self, seed: int, library: Any = np) -> None:
        """Draw the rows."""
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((12, 5))
        y = X @ [1.0, -2.0, 0.0, 0.0, 0.5] + 0.1 * rng.standard_normal(12)
        self.X, self.y = (a if library is np else library.from_numpy(a) for a in (X, y))
        self.n, self.rows, self._rng = 12, np.array([0]), rng

    def draw(self) -> None:
        """Draw the next minibatch."""
        self.rows = self._rng.integers(0, self.n, 3)

    def row_gradients(self, w: Any, rows: Any) -> Any:
        """Return (len(rows), 5)."""
        return self.X[rows] * (self.X[rows] @ w - self.y[rows])[:, None]

    def __call__(self, w: Any) -> Any:
        """Return the minibatch's gradient."""
        return self.row_gradients(w, self.rows).sum(0) / len(self.rows)

    def full(self, w: Any) -> Any:
        """Return the gradient of f."""
        return self.row_gradients(w, np.arange(self.n)).sum(0) / self.n

    def value(self, w: Any) -> float:
        """Return f."""
        return float(((self.X @ w - self.y) ** 2).sum()) / (2 * self.n)


def check_method(method: Method, *, steps: int = 400, seed: int = 0) -> None:
    """Check what `Method` promises, on least squares with twelve rows, five columns and l1.

    A frozen dataclass; `init` starts at w0 with t = 0; `update` counts t, keeps shapes, changes neither its state nor
    w0, and gives the same twice; `steps` steps lower F; torch gives the numbers of NumPy to 1e-10.

    Raises
    ------
    AssertionError
        For the first of these that does not hold.
    """
    from manifold_id.regularizers import L1

    assert isinstance(method, Method), f"{method!r} must derive from Method"
    assert dataclasses.is_dataclass(method), (
        f"{type(method).__name__} must be a dataclass: studies key it by its fields"
    )
    assert type(method).__dataclass_params__.frozen, f"{type(method).__name__} must be frozen: dataclass(frozen=True)"
    psi, oracle, w0 = L1(0.05), Rows(seed), np.full(5, 0.3)
    state: Any = method.init(w0)
    assert isinstance(state, State), f"init returns {type(state).__name__}: a State, or a subclass of it, is needed"
    assert state.t == 0 and np.array_equal(state.w, w0), "init must start at w0 with t = 0"
    start = oracle.value(w0) + float(psi.value(w0))
    for t in range(1, steps + 1):
        oracle.draw()
        before = copy.deepcopy(state)
        new: Any = method.update(oracle, state, psi)
        if t <= 3:
            _unchanged(before, state, "update changes the state that it is given")
            _unchanged(new, method.update(oracle, state, psi), "update gives another state the second time")
        assert isinstance(new, State) and new.t == t, f"update must return a State with t = {t}"
        for name in ("w", "z", "d"):
            assert getattr(new, name).shape == w0.shape, f"{name} has shape {getattr(new, name).shape}, not {w0.shape}"
        state = new
    assert np.array_equal(w0, np.full(5, 0.3)), "update changes w0"
    end = oracle.value(state.z) + float(psi.value(state.z))
    assert end < start, f"{steps} steps took F from {start:.6g} to {end:.6g} at the proximal point"
    try:
        import torch
    except ImportError:
        return
    _same_in_torch(method, psi, Rows(seed), Rows(seed, torch), torch)


def _same_in_torch(method: Method, psi: Any, ours: Rows, theirs: Rows, torch: Any) -> None:
    a: Any = method.init(np.full(5, 0.3))
    b: Any = method.init(torch.full((5,), 0.3, dtype=torch.float64))
    for _ in range(20):
        ours.draw()
        theirs.draw()
        a, b = method.update(ours, a, psi), method.update(theirs, b, psi)
    error = float(np.abs(a.w - b.w.numpy()).max())
    assert error <= 1e-10, f"after 20 steps torch is {error:.3g} from NumPy"


def _unchanged(a: State, b: State, message: str) -> None:
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        same: Callable[..., Any] = np.array_equal
        assert same(np.asarray(x), np.asarray(y)), f"{message}: field {field.name}"
