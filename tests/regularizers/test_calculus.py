"""The calculus of every penalty on every grouping: optimality, independent solvers, identities, certificates."""

import math
import pickle

import cvxpy as cp
import numpy as np
import pytest
import torch
from regularizers_cases import CASES
from scipy.optimize import minimize_scalar

from manifold_id import regularizers
from manifold_id.regularizers import (
    L0,
    L1,
    MCP,
    SCAD,
    CappedL1,
    ElasticNet,
    GroupLasso,
    LHalf,
    LogSum,
    NonnegativeL1,
    NuclearNorm,
)

EPS = np.finfo(float).eps
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
CONVEX = [case for case in CASES if case.regularizer.convex]
convex = pytest.mark.parametrize("case", CONVEX, ids=lambda case: case.name)
metrics = pytest.mark.parametrize("case", [case for case in CASES if case.metric], ids=lambda case: case.name)
BATCHED = [case for case in CASES if case.regularizer.event_ndim is not None]  # else a whole array is one point
batched = pytest.mark.parametrize("case", BATCHED, ids=lambda case: case.name)
grouped = pytest.mark.parametrize("case", [case for case in CASES if case.groups], ids=lambda case: case.name)


def axes(case):
    return tuple(range(-len(case.shape), 0))


def per_point(numbers, case):
    """Numbers (*batch) against points (*batch, *shape)."""
    return np.asarray(numbers).reshape(*np.shape(numbers), *(1 for _ in case.shape))


def metric_of(case, batch, seed=1, condition=30.0):
    return np.exp(np.log(condition) * np.random.default_rng(seed).uniform(-0.5, 0.5, (*batch, *case.shape)))


def phi(regularizer, r, lam):
    """The scalar penalties as their papers write them, for r >= 0."""
    match regularizer:
        case ElasticNet():
            return lam * r + regularizer.ridge * r * r / 2
        case MCP(gamma=gamma):
            return np.where(r <= gamma * lam, lam * r - r * r / (2 * gamma), gamma * lam * lam / 2)
        case SCAD(a=a):
            middle = (2 * a * lam * r - r * r - lam * lam) / (2 * (a - 1))
            return np.where(r <= lam, lam * r, np.where(r <= a * lam, middle, lam * lam * (a + 1) / 2))
        case CappedL1(cap=cap):
            return lam * np.minimum(r, cap)
        case LogSum(eps=eps):
            return lam * eps * np.log(1 + r / eps)
        case L0():
            return lam * (r > 0)
        case LHalf():
            return lam * np.sqrt(r)
    return lam * r


def naive_value(case, w):
    """psi of one point from the second description."""
    if case.groups is None:
        return case.regularizer.lam * np.linalg.norm(w, "nuc")
    flat, lam = w.reshape(-1), case.regularizer.lam
    if isinstance(case.regularizer, NonnegativeL1) and np.any(flat < 0):
        return math.inf
    return sum(
        float(phi(case.regularizer, np.linalg.norm(flat[list(group)]), lam * weight))
        for group, weight in zip(case.groups, case.weights, strict=True)
    )


# --- the prox: optimality, cvxpy, brute force, identities


@every
@pytest.mark.parametrize("scale", [0.3, 1.0, 30.0])
def test_prox_is_stationary_and_its_margins_tell_what_is_off(case, scale):
    regularizer = case.regularizer
    v = case.draw((150,), scale=scale) if regularizer.event_ndim else case.draw(scale=scale)
    batch = v.shape[: v.ndim - len(case.shape)]
    step = np.random.default_rng(2).uniform(0.05, 4.0, batch)
    d = metric_of(case, batch)
    proxes = [(regularizer.prox(v, step), np.ones_like(d))]
    if case.metric:
        proxes.append((regularizer.prox_metric(v, step, d), d))
    for x, m in proxes:
        g = m * (x - v) / per_point(step, case)
        size = np.max(abs(m * v) / per_point(step, case))
        codes, margin, residual = regularizer.structure(x), regularizer.margin(x, g), regularizer.residual(x, g)
        assert codes.dtype == np.int8 and codes.shape == margin.shape == residual.shape
        assert np.max(residual) < 100 * EPS * size
        off = codes == 0
        assert np.all(margin[~off] == np.inf)  # a smooth atom has no boundary
        assert np.all(margin[off] > 0)  # off: -g is inside the relative interior (random v: never on its boundary)
        flat = (case.groups is not None and regularizer.event_ndim is not None) * x.reshape(*batch, -1)
        for k, group in enumerate(case.groups or ()):
            if regularizer.event_ndim is not None and regularizer.lam * case.weights[k] > 0:
                np.testing.assert_array_equal(codes[..., k] == 1, np.any(flat[..., list(group)] != 0, axis=-1))


@every
def test_an_atom_that_is_off_leaves_as_soon_as_the_margin_is_negative(case):
    # Along the normal space, -g moves from the inside of the subdifferential to its outside.
    regularizer = case.regularizer
    for seed in range(30):
        v = case.draw(seed=seed)
        x = regularizer.prox(v, 1.0)
        codes, g = regularizer.structure(x), x - v
        along = regularizer.tangent(codes, g, x)
        g = along + np.random.default_rng(seed).uniform(0.5, 3.0) * (g - along)
        margin, residual = regularizer.margin(x, g), regularizer.residual(x, g)
        off = codes == 0
        np.testing.assert_allclose(residual[off], np.maximum(-margin[off], 0), rtol=1e-12, atol=1e-13)
        # a step that is small against the smallest active atom
        after = regularizer.structure(regularizer.prox(x - 1e-4 * g, 1e-4))
        assert np.array_equal(after == 1, ~off | (margin < 0))


@convex
def test_prox_agrees_with_cvxpy(case):
    regularizer = case.regularizer
    flat_axes = (-1,) if case.groups else case.shape
    for seed, step in [(0, 0.3), (1, 1.0), (2, 2.0)]:
        v, d = case.draw(seed=seed), metric_of(case, (), seed=seed)
        answers = [(regularizer.prox(v, step), np.ones_like(d))]
        if case.metric:
            answers.append((regularizer.prox_metric(v, step, d), d))
        for x, m in answers:
            variable = cp.Variable(v.size if case.groups else case.shape)
            constraints = [variable >= 0] if isinstance(regularizer, NonnegativeL1) else []
            if case.groups is None:
                psi = regularizer.lam * cp.normNuc(variable)
            else:
                psi = sum(
                    regularizer.lam * weight * cp.norm2(variable[list(group)])
                    for group, weight in zip(case.groups, case.weights, strict=True)
                ) + getattr(regularizer, "ridge", 0.0) / 2 * cp.sum_squares(variable)
            gap = cp.multiply(np.sqrt(m / step).reshape(flat_axes), variable - v.reshape(flat_axes))
            model = cp.Problem(cp.Minimize(psi + cp.sum_squares(gap) / 2), constraints)
            model.solve(cp.CLARABEL)
            np.testing.assert_allclose(x.reshape(flat_axes), variable.value, atol=1e-4)
            ours = naive_value(case, x) + np.sum(m * (x - v) ** 2) / (2 * step)
            assert ours <= model.value + 1e-7


@pytest.mark.parametrize("case", [c for c in CASES if not c.regularizer.convex], ids=lambda case: case.name)
@pytest.mark.parametrize("step", [0.1, 0.9, 1.49, 1.51, 2.0, 3.4, 6.0])
def test_nonconvex_prox_is_the_global_minimizer(case, step):
    # Steps on both sides of gamma = 2, a - 1 = 1.5 and a + 1 = 3.5. By symmetry the minimizer is a multiple of v.
    regularizer = case.regularizer
    points = np.concatenate([case.draw((4,), seed=3, scale=s).reshape(-1, *case.shape) for s in (0.3, 1.0, 3.0)])
    for v in points:
        x = regularizer.prox(v, step).reshape(-1)
        for group, weight in zip(case.groups, case.weights, strict=True):
            part, lam = v.reshape(-1)[list(group)], regularizer.lam * weight
            r = np.linalg.norm(part)
            mine = np.linalg.norm(x[list(group)])
            np.testing.assert_allclose(x[list(group)], mine / r * part, atol=1e-14)

            def cost(y, r=r, lam=lam):
                return phi(regularizer, np.asarray(y), lam) + (y - r) ** 2 / (2 * step)

            grid = np.concatenate([[0.0, r], np.linspace(0, 1.5 * r, 2001)])
            k = np.argmin(cost(grid))
            near = minimize_scalar(
                cost, bounds=(max(grid[k] - r / 1000, 1e-300), grid[k] + r / 1000), options={"xatol": 1e-12}
            )
            best, where = min((float(near.fun), float(near.x)), (float(cost(grid[k])), float(grid[k])))
            assert cost(mine) <= best + 1e-13
            others = cost(grid[abs(grid - where) > 0.01 * r])
            if others.min() > best + 1e-3:  # no second minimizer close by: the point itself is determined
                assert abs(mine - where) < 1e-5


@pytest.mark.parametrize("case", [c for c in BATCHED if c.regularizer.convex], ids=lambda case: case.name)
def test_firm_nonexpansiveness(case):
    u, v = case.draw((100,), 3), case.draw((100,), 4)
    gap = case.regularizer.prox(u, 0.7) - case.regularizer.prox(v, 0.7)
    assert np.all(np.sum(gap * gap, axes(case)) <= np.sum(gap * (u - v), axes(case)) + 1e-13)


@pytest.mark.parametrize(
    "case", [c for c in CONVEX if not isinstance(c.regularizer, ElasticNet)], ids=lambda case: case.name
)
def test_moreau_identity(case):
    # psi is positively homogeneous: v = prox(v) + y with y in the polar set d psi(0), and <y, prox(v)> = psi.
    regularizer = case.regularizer
    for seed in range(20):
        v, step = case.draw(seed=seed), 0.6
        x = regularizer.prox(v, step)
        y = (v - x) / step
        assert np.sum(y * x) == pytest.approx(float(regularizer.value(x)), rel=1e-12, abs=1e-13)
        at_zero = np.zeros_like(v)
        free = regularizer.structure(at_zero) == 1
        assert np.all(regularizer.margin(at_zero, -y)[~free] > -1e-13)
        assert np.all(regularizer.residual(at_zero, -y)[free] < 1e-13)


# --- the prox in a diagonal metric


def bisection(v, d, threshold):
    """The group prox of one group by bisection on theta = |x| in exact monotonicity: slow and sure."""
    if np.linalg.norm(d * v) <= threshold:
        return np.zeros_like(v)
    low, high = 0.0, float(np.linalg.norm(v))
    for _ in range(3000):
        middle = math.sqrt(low * high) if low > 0 else high / 2
        if not low < middle < high:
            break
        if np.linalg.norm(d * v / (d * middle + threshold)) > 1:
            low = middle
        else:
            high = middle
    return v * (d * high / (d * high + threshold))


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e8])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_metric_prox_against_bisection(condition, dtype):
    rng = np.random.default_rng(5)
    size, count = 6, 60
    eps = np.finfo(dtype).eps
    for spread in (1.0, condition):  # the size of v itself varies as much as the metric
        d = np.exp(np.log(condition) * rng.uniform(-0.5, 0.5, (count, size))).astype(dtype)
        v = (rng.normal(size=(count, size)) * np.exp(np.log(spread) * rng.uniform(-0.5, 0.5, (count, size)))).astype(
            dtype
        )
        dual = np.linalg.norm((d * v).astype(float), axis=1)
        weights = dual * np.exp(rng.uniform(np.log(1e-6), np.log(3.0), count))
        regularizer = GroupLasso(1.0, groups=size, weights=weights)
        for x, like in [
            (regularizer.prox_metric(v.ravel(), 1.0, d.ravel()), v.ravel()),
            (regularizer.prox_metric(torch.tensor(v.ravel()), 1.0, torch.tensor(d.ravel())).numpy(), v.ravel()),
        ]:
            assert x.dtype == like.dtype
            for k, row in enumerate(x.reshape(count, size)):
                exact = bisection(v[k].astype(float), d[k].astype(float), float(dtype(weights[k])))
                # the conditioning of the root: |v| / |x|, as for a difference of nearly equal numbers
                np.testing.assert_allclose(row, exact, atol=30 * eps * np.linalg.norm(v[k]), rtol=30 * eps)
                assert np.array_equal(row != 0, exact != 0) or np.linalg.norm(exact) < 30 * eps * np.linalg.norm(v[k])


def test_metric_prox_close_to_the_threshold():
    rng = np.random.default_rng(6)
    d, v = np.exp(rng.uniform(-9, 9, 8)), rng.normal(size=8)
    dual = np.linalg.norm(d * v)
    for factor, active in [(1 - 1e-15, True), (1 - 1e-9, True), (1 + 1e-15, False), (1.0, False)]:
        x = GroupLasso(dual * factor, groups=8, weights=None).prox_metric(v, 1.0, d)
        assert np.all(np.isfinite(x)) and np.any(x != 0) == active


def test_metric_prox_takes_few_newton_steps(monkeypatch):
    rng = np.random.default_rng(7)
    d, v = np.exp(rng.uniform(-9.2, 9.2, (2000, 5))), rng.normal(size=(2000, 5)) * np.exp(rng.uniform(-9, 9, (2000, 5)))
    v, d = v.reshape(-1), d.reshape(-1)
    regularizer = GroupLasso(300.0, groups=5)
    expected = regularizer.prox_metric(v, 1.0, d)
    assert 0.1 < np.mean(expected != 0) < 0.9
    monkeypatch.setattr("manifold_id.regularizers.metric.ITERATIONS", 12)
    assert np.array_equal(regularizer.prox_metric(v, 1.0, d), expected)


@metrics
def test_metric_of_ones_and_constant_metrics(case):
    v, step = case.draw(seed=8), 0.6
    regularizer = case.regularizer
    np.testing.assert_allclose(
        regularizer.prox_metric(v, step, np.ones_like(v)), regularizer.prox(v, step), atol=1e-14, rtol=1e-13
    )
    np.testing.assert_allclose(
        regularizer.prox_metric(v, step, np.full_like(v, 3.0)), regularizer.prox(v, step / 3.0), atol=1e-14, rtol=1e-13
    )


@pytest.mark.parametrize("kind", [MCP, SCAD, L0, LHalf])
def test_nonconvex_groups_need_a_metric_that_is_constant_on_groups(kind):
    regularizer, v = kind(0.3, groups=[0, 0, 1, 1, 1]), np.array([1.0, -0.3, 0.2, 0.4, 2.0])
    d = np.array([2.0, 2.0, 0.5, 0.5, 0.5])
    x = regularizer.prox_metric(v, 1.0, d)
    np.testing.assert_allclose(x[:2], regularizer.prox(v, 0.5)[:2], rtol=1e-14)
    np.testing.assert_allclose(x[2:], regularizer.prox(v, 2.0)[2:], rtol=1e-14)
    with pytest.raises(NotImplementedError, match="varies within a group"):
        regularizer.prox_metric(v, 1.0, np.arange(1.0, 6.0))


# --- numbers at the edge


@every
def test_step_zero_is_the_identity(case):
    v = case.draw(seed=9)
    tolerance = 0 if case.groups else 1e-14
    if isinstance(case.regularizer, NonnegativeL1):
        v = abs(v)
    np.testing.assert_allclose(case.regularizer.prox(v, 0.0), v, rtol=0, atol=tolerance)
    if case.metric:
        np.testing.assert_array_equal(case.regularizer.prox_metric(v, 0.0, metric_of(case, ())), v)
        steps = np.array([0.0, 0.5])
        if case.regularizer.event_ndim is not None:
            both = case.regularizer.prox_metric(np.stack([v, v]), steps, metric_of(case, (2,)))
            np.testing.assert_array_equal(both[0], v)
            assert np.all(np.isfinite(both))


@every
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_zero_and_subnormal_points(case, dtype, library):
    regularizer = case.regularizer
    tiny = float(np.finfo(dtype).smallest_subnormal)
    for size in (0.0, tiny, 7 * tiny, 1e3 * tiny):
        v = np.zeros(case.shape, dtype)
        v.reshape(-1)[1] = size
        v = torch.tensor(v) if library == "torch" else v
        outputs = [regularizer.prox(v, 1.0), regularizer.prox(v, 0.0), regularizer.value(v), regularizer.residual(v, v)]
        if case.metric:
            d = 1.0 + abs(v)
            outputs += [regularizer.prox_metric(v, step, d) for step in (1.0, 0.0)]
        outputs = [np.asarray(a) for a in outputs]
        assert all(np.all(np.isfinite(a)) and a.dtype == dtype for a in outputs)
        assert (size == 0) == (float(regularizer.value(v)) == 0) or regularizer.lam == 0 or size < 1e3 * tiny
        if case.groups is None:
            continue
        np.testing.assert_array_equal(outputs[1], np.asarray(v))
        codes = np.asarray(regularizer.structure(v))
        for k, (group, weight) in enumerate(zip(case.groups, case.weights, strict=True)):
            kinked = regularizer.lam * weight > 0 or isinstance(regularizer, NonnegativeL1)
            assert codes.reshape(-1)[k] == (1 if (size > 0 and 1 in group) or not kinked else 0)
            if kinked and not (isinstance(regularizer, NonnegativeL1) and regularizer.lam == 0):
                assert np.all(outputs[0].reshape(-1)[list(group)] == 0)


def test_subnormal_groups_shrink_to_precision():
    # Everything scaled by 2^-1060: the same result, but for the rounding of subnormal numbers.
    rng = np.random.default_rng(10)
    scale = 2.0**-1060
    v, d = rng.normal(size=12), rng.uniform(0.5, 2.0, 12)
    for unit in (1.0, scale):
        regularizer = GroupLasso(0.6 * unit, groups=3)
        results = regularizer.prox(v * unit, 1.0) / unit, regularizer.prox_metric(v * unit, 1.0, d) / unit
        if unit == 1.0:
            expected = results
    for one, other in zip(results, expected, strict=True):
        assert np.any(other == 0) and np.any(other != 0)
        np.testing.assert_allclose(one, other, atol=8 * 2.0**-14)
    large = GroupLasso(1e190, groups=3).prox(v * 1e200, 1.0)
    np.testing.assert_allclose(large / 1e200, v, rtol=1e-9)


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # inf / inf
def test_what_is_not_finite_never_becomes_finite(case, bad, library):
    regularizer, size = case.regularizer, math.prod(case.shape)
    bound = isinstance(regularizer, NonnegativeL1) and bad == -math.inf  # the limit of the projection is the bound 0
    w = library(regularizer.prox(case.draw(seed=11), 1.0))
    for j in range(size):
        v = case.draw(seed=11)
        v.reshape(-1)[j] = bad
        coupled = next((list(group) for group in case.groups or () if j in group), list(range(size)))
        others = np.setdiff1d(np.arange(size), coupled)
        d = metric_of(case, ())
        proxes = [lambda x, step: regularizer.prox(library(x), step)]
        if case.metric:
            proxes.append(lambda x, step, d=d: regularizer.prox_metric(library(x), step, library(d)))
        for prox in proxes:
            for step in (0.1, 0.5, 4.0):  # below and above gamma of MCP and a - 1 of SCAD
                x = np.asarray(prox(v, step)).reshape(-1)
                clean = np.asarray(prox(np.where(np.isfinite(v), v, 1.0), step)).reshape(-1)
                assert np.all(x[coupled] == 0) if bound else not np.any(np.isfinite(x[coupled]))
                np.testing.assert_allclose(x[others], clean[others], rtol=1e-13)  # the other atoms notice nothing
        if math.isnan(bad):
            assert math.isnan(float(regularizer.value(library(v))))
            assert np.any(np.isnan(np.asarray(regularizer.residual(library(v), w))))
            assert np.any(np.isnan(np.asarray(regularizer.residual(w, library(v)))))


def test_a_batch_of_matrices_keeps_its_finite_points():
    regularizer, v = NuclearNorm(0.5), np.random.default_rng(0).normal(size=(3, 5, 4))
    expected = regularizer.prox(v, 1.0)
    v[1, 2, 3] = np.inf
    for x in (regularizer.prox(v, 1.0), regularizer.prox(torch.tensor(v), 1.0)):
        assert np.all(np.isnan(np.asarray(x[1])))
        np.testing.assert_allclose(x[::2], expected[::2], rtol=1e-12)
    assert regularizer.structure(regularizer.prox(v, 1.0))[1].tolist() == [1] * 4  # as a NaN entry of the others


@pytest.mark.parametrize("regularizer", [LHalf(0.5), LHalf(0.5, groups=2)], ids=repr)
def test_the_gradient_of_l_half_is_a_number_at_zero(regularizer):
    w = torch.tensor([0.0, 0.0, 3.0, 4.0], dtype=torch.float64, requires_grad=True)
    regularizer.value(w).backward()
    half = 0.25 * 2**0.25 * torch.tensor([0.6, 0.8]) / 5**0.5 if regularizer.groups else 0.25 / w.detach()[2:] ** 0.5
    np.testing.assert_allclose(w.grad, [0.0, 0.0, *(half * (2**0.25 if regularizer.groups else 1.0))], rtol=1e-6)
    assert regularizer.penalty.derivative(np.array([0.0, 4.0, np.nan]), 0.5).tolist()[:2] == [0.0, 0.125]
    assert np.isnan(regularizer.penalty.derivative(np.array([np.nan]), 0.5))[0]


# --- one code for NumPy and torch, for single points and batches


def functions(case):
    """Every function as (name, call(w, g, d, step))."""
    r = case.regularizer
    table = [
        ("value", lambda w, g, d, step: r.value(w)),
        ("prox", lambda w, g, d, step: r.prox(w, step)),
        ("structure", lambda w, g, d, step: r.structure(w)),
        ("residual", lambda w, g, d, step: r.residual(w, g)),
        ("margin", lambda w, g, d, step: r.margin(w, g)),
        ("tangent", lambda w, g, d, step: r.tangent(r.structure(w), g, w)),
        ("dimension", lambda w, g, d, step: r.dimension(r.structure(w), shape=case.shape)),
    ]
    if case.metric:
        table.append(("prox_metric", lambda w, g, d, step: r.prox_metric(w, step, d)))
    return table


def arguments(case, batch):
    w = case.regularizer.prox(case.draw(batch, 12), 1.0)
    g = case.draw(batch, 13)
    return w, g, metric_of(case, batch), np.random.default_rng(14).uniform(0.2, 3.0, batch)


@every
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_equals_numpy(case, dtype):
    batch = () if case.regularizer.event_ndim is None else (5,)
    arrays = [np.asarray(a).astype(dtype) for a in arguments(case, batch)]
    eps = float(np.finfo(dtype).eps)
    for name, function in functions(case):
        expected, result = function(*arrays), function(*(torch.tensor(a) for a in arrays))
        assert isinstance(result, torch.Tensor), name
        kind = {"structure": np.int8, "dimension": np.int64}.get(name, np.dtype(dtype))
        assert np.asarray(expected).dtype == kind and np.asarray(result).dtype == kind, name
        np.testing.assert_allclose(result, expected, rtol=200 * eps, atol=40 * eps, err_msg=name)


@every
@pytest.mark.parametrize("kind", ["int64", "int8", "bool"])
@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_integers_are_the_same_numbers_in_floating_point(case, kind, library):
    w, g = (library(np.round(case.draw(seed=s, scale=2.0)).astype(kind)) for s in (15, 16))
    d = library(np.full(case.shape, 2).astype("int8"))
    floating = [a.to(torch.get_default_dtype()) if torch.is_tensor(a) else a.astype(float) for a in (w, g, d)]
    for name, function in functions(case):
        expected, result = function(*floating, 0.3), function(w, g, d, 0.3)
        assert result.dtype == expected.dtype, name
        np.testing.assert_array_equal(result, expected, err_msg=name)


def test_integer_gradients_take_the_dtype_of_the_point():
    w, g = np.array([0.5, 0.0], dtype=np.float32), np.array([1, 2])
    assert L1(0.3).residual(w, g).dtype == L1(0.3).residual(w, g=g).dtype == np.float32
    assert L1(0.3).lambda_max(g) == L1(0.3).lambda_max(g=torch.tensor(g)) == 2.0
    with pytest.raises(TypeError, match="w has dtype complex128: give real numbers"):
        L1(0.3).prox(1j * w.astype(complex), 1.0)


@every
def test_single_precision_agrees_with_double(case):
    batch = () if case.regularizer.event_ndim is None else (5,)
    w, g, d, step = arguments(case, batch)
    for name, function in functions(case):
        double = function(w, g, d, step)
        single = function(*(np.asarray(a).astype(np.float32) for a in (w, g, d, step)))
        np.testing.assert_allclose(single, double, rtol=2e-4, atol=2e-5, err_msg=name)


@batched
def test_a_batch_is_its_points(case):
    arrays = arguments(case, (2, 3))
    for name, function in functions(case):
        together = function(*arrays)
        for i in np.ndindex(2, 3):
            np.testing.assert_allclose(
                together[i], function(*(a[i] for a in arrays)), rtol=1e-13, atol=1e-14, err_msg=name
            )


@every
def test_arguments_are_left_as_they_are(case):
    arrays = arguments(case, () if case.regularizer.event_ndim is None else (2,))
    copies = [np.copy(a) for a in arrays]
    for _, function in functions(case):
        function(*arrays)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


def test_a_step_on_torch_and_mixed_kinds():
    regularizer, v = GroupLasso(0.3, groups=2), np.arange(6.0).reshape(1, 6)
    expected = regularizer.prox(v, 0.5)
    for step in (np.float64(0.5), np.float32(0.5), np.array(0.5), np.array([0.5])):
        assert np.array_equal(regularizer.prox(v, step), expected)
        assert regularizer.prox(v.astype(np.float32), step).dtype == np.float32
    for step in (0.5, torch.tensor(0.5), torch.tensor([0.5], dtype=torch.float64), np.array([0.5])):
        assert np.array_equal(regularizer.prox(torch.tensor(v), step), expected)


# --- values, manifolds, forms


@every
def test_value_is_the_formula(case):
    for seed in range(5):
        w = case.draw(seed=seed)
        w = abs(w) if isinstance(case.regularizer, NonnegativeL1) and seed else w
        w.reshape(-1)[: seed + 1] = 0.0
        assert float(case.regularizer.value(w)) == pytest.approx(naive_value(case, w), rel=1e-13)


@every
def test_the_slope_of_the_value_is_the_residual(case):
    # Along the manifold psi is smooth: residual(w, 0) of the active atoms is the size of its gradient.
    regularizer = case.regularizer
    w = regularizer.prox(case.draw(seed=15), 1.0)
    codes = regularizer.structure(w)
    gradient = np.zeros_like(w)
    for i in np.ndindex(w.shape):
        unit = np.zeros_like(w)
        unit[i] = 1e-6
        unit = regularizer.tangent(codes, unit, w)
        gradient[i] = (regularizer.value(w + unit) - regularizer.value(w - unit)) / 2e-6
    gradient = regularizer.tangent(codes, gradient, w)
    assert np.linalg.norm(regularizer.residual(w, gradient * 0)) == pytest.approx(np.linalg.norm(gradient), abs=2e-8)
    assert np.linalg.norm(regularizer.residual(w, -gradient)) < 2e-8


@every
def test_tangent_is_the_projection_of_the_dimension(case):
    regularizer, size = case.regularizer, math.prod(case.shape)
    for seed in range(3):
        w = regularizer.prox(case.draw(seed=seed), 1.0)
        codes = regularizer.structure(w)
        columns = [regularizer.tangent(codes, e.reshape(case.shape), w).reshape(-1) for e in np.eye(size)]
        matrix = np.stack(columns)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
        np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-14)
        assert np.trace(matrix) == pytest.approx(int(regularizer.dimension(codes, shape=case.shape)), abs=1e-12)
        np.testing.assert_allclose(matrix @ w.reshape(-1), w.reshape(-1), atol=1e-13)  # psi's manifolds are cones


@grouped
def test_dimension_needs_a_shape_only_where_codes_do_not_tell(case):
    codes = case.regularizer.structure(case.regularizer.prox(case.draw(), 1.0))
    expected = case.regularizer.dimension(codes, shape=case.shape)
    if len(case.shape) == 1 or all(len(group) == 1 for group in case.groups):
        assert case.regularizer.dimension(codes) == expected
    else:
        with pytest.raises(ValueError, match="shape=None"):
            case.regularizer.dimension(codes)


@every
def test_repr_pickle_and_with_lam(case):
    regularizer = case.regularizer
    again = eval(repr(regularizer), vars(regularizers))
    assert again == regularizer and hash(again) == hash(regularizer) and repr(again) == repr(regularizer)
    v = case.draw(seed=16)
    x = regularizer.prox(v, 0.5)
    assert np.array_equal(pickle.loads(pickle.dumps(regularizer)).prox(v, 0.5), x)
    other = regularizer.with_lam(0.25)
    assert other.lam == 0.25 and other.with_lam(regularizer.lam) == regularizer and type(other) is type(regularizer)


@every
def test_lambda_max_is_the_first_lam_whose_solution_is_zero(case):
    regularizer, g = case.regularizer, case.draw(seed=17)
    if isinstance(regularizer, (L0, LHalf)):
        with pytest.raises(NotImplementedError, match="stationary for every lam"):
            regularizer.lambda_max(g)
        return
    for index, weight in zip(case.groups or (), case.weights, strict=False):
        if weight == 0:
            g.reshape(-1)[list(index)] = 0.0  # a free group is at its optimum
    lam, zero = regularizer.lambda_max(g), np.zeros_like(g)
    assert isinstance(lam, float) and lam > 0
    assert np.all(regularizer.with_lam(lam * (1 + 1e-12)).residual(zero, g) == 0)
    assert np.any(regularizer.with_lam(lam * (1 - 1e-12)).residual(zero, g) > 0)
    step = 1.0 if not isinstance(regularizer, (CappedL1, LogSum)) else 0.01  # at which these do not jump
    assert np.all(regularizer.with_lam(lam * (1 + 1e-9)).prox(-step * g, step) == 0)
    assert np.any(regularizer.with_lam(lam * (1 - 1e-9)).prox(-step * g, step) != 0)
    assert regularizer.lambda_max(0 * g) == 0.0
    assert regularizer.lambda_max(torch.tensor(g)) == pytest.approx(lam, rel=1e-14)


@every
def test_separable_is_the_same_function(case):
    form = case.regularizer.separable(case.shape)
    if case.groups is None or (isinstance(case.regularizer, NonnegativeL1) and case.regularizer.lam == 0):
        assert form is None
        return
    size = math.prod(case.shape)
    assert form.labels.shape == (size,) and form.labels.dtype == np.int64 and form.lam.dtype == np.float64
    assert form.l1 == 0 and form.atoms == ("entries" if all(len(g) == 1 for g in case.groups) else "groups")
    for k, (group, weight) in enumerate(zip(case.groups, case.weights, strict=True)):
        assert np.array_equal(np.flatnonzero(form.labels == k), group)
        assert form.lam[k] == pytest.approx(case.regularizer.lam * weight, rel=1e-15)
    penalty = case.regularizer.penalty
    w = abs(case.draw(seed=18)).reshape(-1)
    r = np.array([np.linalg.norm(w[form.labels == k]) for k in range(len(form.lam))])
    expected = float(case.regularizer.value(w.reshape(case.shape)))
    assert np.sum(penalty.value(r, form.lam)) == pytest.approx(expected, rel=1e-13)
    assert (form.penalty, form.parameters) == (penalty.name, penalty.parameters)


def test_the_rank_is_that_of_the_prox():
    # Rebuilt matrices carry singular values of rounding size; they do not count, whatever the shape and precision.
    rng = np.random.default_rng(19)
    for shape in [(1, 1), (1, 7), (2, 2), (3, 40), (60, 30)]:
        for dtype in (np.float32, np.float64):
            for v in rng.normal(size=(8, *shape)).astype(dtype):
                s = np.linalg.svd(v, compute_uv=False)
                for rank in range(min(shape) + 1):
                    low = s[rank] if rank < len(s) else 0.0
                    high = s[rank - 1] if rank else 2 * s[0]
                    lam = float(low + 0.5 * (high - low))
                    codes = NuclearNorm(lam).structure(NuclearNorm(lam).prox(v, 1.0))
                    assert codes.tolist() == [1] * rank + [0] * (min(shape) - rank)
