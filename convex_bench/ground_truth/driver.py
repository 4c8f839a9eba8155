"""solve(problem): the fast path, the witness, and their certificate."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import issparse

from convex_bench.ground_truth.centring import Centred, centred
from convex_bench.ground_truth.curvature import affine_curvature, form_curvature
from convex_bench.ground_truth.doubled import U, accurate_gradient
from convex_bench.ground_truth.existence import recession_direction
from convex_bench.ground_truth.fista import fista
from convex_bench.ground_truth.form import PENALTIES, Form, form_of, gradient_scale, separable_form
from convex_bench.ground_truth.gap_safe import dual_point
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.model import cvxpy_solve
from convex_bench.ground_truth.polish import group_curvature, settle, support_start
from convex_bench.ground_truth.proof import LARGEST, Proof, prove, prove_strongly_convex
from convex_bench.ground_truth.refine import Judged, correct, judge, refine
from convex_bench.ground_truth.solution import Solution
from convex_bench.ground_truth.threads import one_thread
from convex_bench.ground_truth.working_set import Iterate
from convex_bench.problem import Problem
from manifold_id.certificate import DEGENERATE, STATIONARY, Certificate, certify
from manifold_id.validation import real, unknown_name

Array = np.ndarray
SOLVERS = ("auto", "cvxpy")
HOPELESS = 1e-9
LEAST = 1e-3  # root mean squares of columns beyond this or its inverse are scaled where Newton's method fails
SMALL = 200_000  # entries of X up to which a failed solve is tried again from cvxpy's answer


def solve(problem: Problem, solver: str = "auto", tol: float = STATIONARY, start: Any = None) -> Solution:
    """Return the minimizer of a convex problem with its certificate.

    Parameters
    ----------
    problem : with a convex psi. Sums of norms of entries and groups (l1, group, elastic net, sparse group, nonnegative
        l1) are solved by prox-Newton on a working set; other convex ones (nuclear norm, total variation, box,
        simplex) by accelerated proximal gradient, which gets there if F is strongly convex on the manifold.
    solver : "auto", or "cvxpy": Clarabel's (SCS's) answer gives the start, the support follows from the prox-gradient
        rule |w_g - g_g / L_g| > lam_g / L_g and Newton's method settles it; `witness` keeps that answer's objective.
    tol : the largest relative residual that is certified, at most 1e-12. The iteration goes on below it while cheap.
    start : of w's shape; the null model by default. The answer does not depend on it beyond rounding
        where the solution is unique; where it is not, see Notes.

    Raises
    ------
    TypeError
        If `problem` is not a Problem.
    ValueError
        If psi is not convex, the solver unknown, tol outside (0, 1e-12], or the start of another shape or not finite.

    Notes
    -----
    Dependent columns (one-hot codings, duplicates) make the solution non-unique; `Solution.curvature` is then 0. Of
    several solutions the one of least norm is returned, which dual averaging from 0 selects too, unless its manifold is
    degenerate and another solution's is not. Beyond 1000 active coordinates the first solution found is returned.

    Warns
    -----
    UserWarning
        If lam >= lambda_max: the solution has no penalized coordinate.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem={problem!r} must be a convex_bench.Problem")
    if solver not in SOLVERS:
        raise unknown_name("solver", solver, SOLVERS)
    tol = real("tol", tol, 0.0, STATIONARY, open_low=True)
    if not problem.penalty.convex:
        raise ValueError(
            f"regularizer={problem.penalty!r} is not convex, so that no certificate of optimality exists: "
            "use a convex regularizer"
        )
    w = None if start is None else _check_start(problem, start)
    with one_thread(problem.n * problem.n_features, issparse(problem.X)):
        solution = solve_checked(problem, solver, tol, w)
    _warn_if_trivial(problem, solution)
    return solution


def solve_checked(
    problem: Problem, solver: str, tol: float, start: Array | None, smooth: Smooth | None = None
) -> Solution:
    """Return what `solve` does, its arguments being checked; `smooth` is that of the same data where it is there."""
    began = time.perf_counter()
    w = problem.null_model() if start is None else start
    witness, name = float("nan"), "working-set prox-Newton"
    if solver == "cvxpy":
        w, backend = cvxpy_solve(problem)
        witness, name = problem.value(_feasible(problem, w)), f"cvxpy ({backend}), prox-gradient support, Newton"
    form = form_of(problem)
    if form is None:
        best = _by_fista(problem, w, tol)
        name = name.replace("working-set prox-Newton", "FISTA with restart").replace("support, Newton", "steps")
    else:
        smooth = Smooth(problem) if smooth is None else smooth
        best = _by_newton(problem, form, smooth, w, tol)
        others = _other_starts(problem, form, solver, start, tol, far=best.frame is not None)
        while best.worst > HOPELESS and (again := next(others, None)) is not None:
            other = _by_newton(problem, form, smooth, again[0], tol)
            if other.worst < best.worst:
                best, name = other, again[1]
    return _solution(problem, form, best, Asked(solver, name, witness, began))


def _other_starts(
    problem: Problem, form: Form, solver: str, start: Any, tol: float, far: bool
) -> Iterator[tuple[Array, str]]:
    """Yield further starts, each with its method's text, for a solve that did not reach its certificate."""
    if (scaled := _from_scaled(problem, form, tol)) is not None:
        yield scaled, "working-set prox-Newton, from scaled columns"
    if start is not None or solver == "cvxpy":
        yield problem.null_model(), "working-set prox-Newton"
    if solver == "auto" and problem.n * problem.n_features <= SMALL and not far:
        try:
            w, backend = cvxpy_solve(problem)
        except RuntimeError:
            return
        yield w, f"cvxpy ({backend}), prox-gradient support, Newton"


def _from_scaled(problem: Problem, form: Form, tol: float) -> Array | None:
    """Return the solution with all columns times the power of two that makes them about 1, or None where they are."""
    typical = float(np.median(np.sqrt(problem.column_squares()[: problem.n_features * problem.n_outputs] / problem.n)))
    if not 0.0 < typical < np.inf or LEAST < typical < 1.0 / LEAST:
        return None
    s = 2.0 ** -round(math.log2(typical))
    scaled = problem.with_columns(problem.X.astype(np.float64) * s)
    other = replace(form, lam=form.lam * s, l1=form.l1 * s, ridge=form.ridge * s * s, scale=form.scale * s)
    w = _newton(scaled, other, Smooth(scaled), np.zeros(problem.shape), tol).at.w.reshape(problem.shape).copy()
    w[: problem.n_features] *= s
    return w


def _check_start(problem: Problem, start: Any) -> Array:
    w = np.array(start, dtype=np.float64)
    if w.shape != problem.shape:
        raise ValueError(f"start has shape {w.shape}, but the variable has shape {problem.shape}")
    if not np.isfinite(w).all():
        raise ValueError("start must be finite: NaN or infinity found")
    return w


def _feasible(problem: Problem, w: Array) -> Array:
    """Return w, moved into the domain of an indicator where the witness left it by its tolerance."""
    if np.isfinite(problem.regularizer.value(w)):
        return w
    return np.asarray(problem.regularizer.prox(w, 1e-12))


@dataclass(frozen=True, eq=False)
class Asked:
    """Who solves, how in words, F at the witness's own answer, and when it began."""

    solver: str
    method: str
    witness: float
    began: float


@dataclass(frozen=True, eq=False)
class Answer:
    """A point w + low, of the problem's shape, with its certificate and what can be asked of it.

    proof : the radius of a ball that holds the solution, and which atoms are proved.
    judged, frame : of Newton's method alone; frame where the columns were centred.
    """

    w: Array
    low: Array
    certificate: Certificate
    proof: Callable[[], tuple[float, Array]]
    gap: Callable[[], float]
    steps: int
    judged: Judged | None = None
    frame: Centred | None = None

    @property
    def worst(self) -> float:
        """The largest relative residual."""
        return float(self.certificate.residual.max(initial=0.0))


def _by_fista(problem: Problem, w: Array, tol: float) -> Answer:
    """Return the answer for a psi that is no sum of norms, with centred columns where they are far from their mean."""
    frame = centred(problem)
    inner = problem if frame is None else frame.problem
    point, plain, steps = fista(inner, w if frame is None else frame.start(w), tol)
    low = np.zeros_like(point)
    w = point
    if frame is not None:
        w, low = (part.reshape(problem.shape) for part in frame.original(point.ravel(), low.ravel()))
    certificate, error = plain, np.zeros(w.size)
    if plain.status != "failed":
        certificate, error = _accurately(problem, w, low, tol)

    def proof() -> tuple[float, Array]:
        at = (certificate, error) if frame is None else _accurately(inner, point, np.zeros_like(point), tol)
        radius, proved = prove_strongly_convex(inner, point, *at)
        if frame is not None:  # the intercept moves by c (w - w*) besides
            radius = radius * (2.0 + float(np.abs(frame.shift).sum())) + 1.001 * float(np.linalg.norm(low))
        return radius, proved

    return Answer(w, low, certificate, proof, lambda: math.inf, steps)


def _newton_answer(
    problem: Problem, form: Form, judged: Judged, tol: float, proof: Callable[[], Proof], gap: Callable[[], float]
) -> Answer:
    def by_atom() -> tuple[float, Array]:
        found = proof()
        return found.radius, _by_atom(problem, form, found)

    w, low = (part.reshape(problem.shape) for part in (judged.at.w, judged.low))
    certificate = judged_certificate(problem, form, judged, tol)
    return Answer(w, low, certificate, by_atom, gap, judged.at.steps, judged)


def _by_newton(problem: Problem, form: Form, smooth: Smooth, w: Array, tol: float) -> Answer:
    frame = centred(problem)
    if frame is not None:
        return _by_centring(problem, form, smooth, frame, w, tol)
    judged = _newton(problem, form, smooth, w, tol)
    return _newton_answer(
        problem, form, judged, tol, partial(prove, smooth, form, judged), partial(_gap, problem, form, judged)
    )


def _gap(problem: Problem, form: Form, judged: Judged) -> float:
    return dual_point(problem, form, judged.at.w, judged.at.margins, judged.at.gradient).gap


def _newton(problem: Problem, form: Form, smooth: Smooth, w: Array, tol: float) -> Judged:
    flat = w.reshape(-1).astype(np.float64)
    if 2 * np.count_nonzero(flat) > flat.size:  # a support is not known yet
        flat = support_start(smooth, form, flat)
    best = settle(smooth, form, flat, tol)
    judged = refine(smooth, form, best, tol)
    if judged.worst > tol:  # another support, from the better point
        other = refine(smooth, form, settle(smooth, form, judged.at.w, tol), tol)
        judged = other if other.worst < judged.worst else judged
    return judged


def _by_centring(problem: Problem, form: Form, smooth: Smooth, frame: Centred, w: Array, tol: float) -> Answer:
    """Return the answer from the centred problem, judged on the problem itself."""
    inner = Smooth(frame.problem)
    at: Judged | None = _newton(frame.problem, form, inner, frame.start(w), tol)
    best: tuple[Judged, Judged] | None = None
    for _ in range(4):  # the intercept's slope must fall below the others' by the factor c
        if at is None:
            break
        v, low = frame.original(at.at.w, at.low)
        margins = smooth.margins(v)
        residual = at.at.residual
        here = Iterate(v, margins, at.at.value, smooth.gradient(margins), residual, at.at.steps)
        judged = judge(smooth, form, here, low)
        if best is None or judged.worst < best[0].worst:
            best = judged, at
        if judged.worst <= 0.1 * tol:
            break
        at = correct(inner, form, at, with_low=True)
    assert best is not None
    judged, source = best

    def proof() -> Proof:
        found = prove(inner, form, source)  # the intercept moves by c (w - w*) besides
        low = 1.001 * float(np.linalg.norm(judged.low))
        return replace(found, radius=found.radius * (2.0 + float(np.abs(frame.shift).sum())) + low)

    gap = partial(_gap, frame.problem, form, source)
    return replace(_newton_answer(problem, form, judged, tol, proof, gap), frame=frame)


def _tiny(problem: Problem, form: Form, w: Array) -> bool:
    """Whether an active penalized group is below 1e-8 of its prox-gradient threshold lam_g / L_g."""
    norms = form.norms(w.reshape(-1))
    kinked = (form.lam + form.l1[form.members[form.start[:-1]]] > 0) & (norms > 0)
    if not kinked.any() or norms[kinked].min() > 1e-6 * norms.max():
        return False
    threshold = form.scale / group_curvature(Smooth(problem), form)
    return bool((norms[kinked] < DEGENERATE * threshold[kinked]).any())


def _solution(problem: Problem, form: Form | None, best: Answer, asked: Asked) -> Solution:
    w, certificate = best.w, best.certificate
    status, gap = certificate.status, math.inf
    proved, radius = np.zeros(len(certificate.codes), dtype=bool), math.inf
    if form is None:
        curvature = partial(affine_curvature, problem, w, certificate.codes)
    else:
        gap = best.gap()
        curvature = partial(form_curvature, problem, form, w.reshape(-1), best.frame)
        if status == "certified" and _tiny(problem, form, w):
            status = "degenerate"
    if status != "failed":
        radius, proved = best.proof()
        if status == "certified" and not proved.all():
            status = "degenerate"
        if form is not None and math.isinf(radius) and _free_columns(problem, form):
            gap = math.inf  # X_0^T u = 0 holds up to rounding: too little where columns without a penalty are dependent
    value, direction = problem.value(w), recession_direction(problem)
    if direction is not None:
        status, radius, proved = "unattained", math.inf, np.zeros_like(proved)
        value = _infimum(problem, w, direction)
    return Solution(
        w=w,
        direction=direction,
        low=best.low,
        radius=radius,
        proved=proved,
        reason=_reason(problem, form, best, status),
        value=value,
        gap=gap,
        residual=certificate.residual,
        scale=certificate.scale,
        codes=certificate.codes,
        margin=certificate.margin,
        min_margin=certificate.min_margin,
        relative_margin=certificate.relative_margin,
        smallest_active=certificate.smallest_active,
        curvature=curvature,  # type: ignore[arg-type]
        lipschitz=problem.lipschitz,  # type: ignore[arg-type]
        status=status,
        solver=asked.solver,
        method=asked.method,
        seconds=time.perf_counter() - asked.began,
        iterations=best.steps,
        witness=asked.witness,
        intercepted=problem.intercept,
        names=None if problem.regularizer.atom_names is None else np.array(problem.regularizer.atom_names),
    )


def _free_columns(problem: Problem, form: Form) -> bool:
    """Whether a coordinate besides the intercept has no penalty."""
    return bool(form.unpenalized(form.lam == 0)[: problem.n_features * problem.n_outputs].any())


def _infimum(problem: Problem, w: Array, direction: Array) -> float:
    """Return F far along the direction, where the rows that it separates have no loss left."""
    t = 1.0
    value = problem.value(w)
    while t < 1e12:
        new = problem.value(w + t * direction)
        if not new < value and t > 1e3:
            break
        value, t = min(new, value), 2.0 * t
    return float(value)


def _accurately(problem: Problem, w: Array, low: Array, tol: float) -> tuple[Certificate, Array]:
    """Return (certificate of w + low from a gradient in double-double arithmetic, its error counted in; that error)."""
    flat = w.reshape(-1)
    found = accurate_gradient(problem, flat, low.reshape(-1), np.arange(flat.size))
    scale = gradient_scale(problem)
    exact = certify(w, found.gradient.reshape(w.shape), problem.regularizer, tol=tol, gradient_scale=scale)
    sums = float(np.abs(found.gradient).sum()) + float(exact.scale.max(initial=0.0))
    lost = float(np.linalg.norm(found.error)) + 8.0 * (flat.size + 8.0) * U * sums  # of sums and means besides
    inside = (exact.codes <= 0) & (exact.margin > lost)
    residual = exact.residual + np.where(inside, 0.0, lost / exact.scale)
    status = "failed" if not residual.max(initial=0.0) <= tol else exact.status
    return replace(exact, residual=residual, absolute=residual * exact.scale, status=status), found.error


def judged_certificate(problem: Problem, form: Form, judged: Judged, tol: float) -> Certificate:
    """Return the certificate of a judged point: its residuals include the bound of their rounding error."""
    at = judged.at
    shape = problem.shape
    gradient = judged.gradient + form.ridge * judged.low  # psi adds the ridge at w
    scale = 1.0 if form.lam.any() or form.l1.any() else gradient_scale(problem)
    plain = certify(at.w.reshape(shape), gradient.reshape(shape), problem.regularizer, tol=tol, gradient_scale=scale)
    inner = separable_form(problem)
    assert inner is not None  # there is a form
    rows = len(plain.codes) - (problem.n_features * problem.n_outputs if inner.atoms == "entries" else len(inner.lam))
    groups = len(form.lam) - int(problem.intercept) * problem.n_outputs
    residual, scales = judged.residual[:groups], judged.scale[:groups]
    if inner.atoms == "entries":
        residual, scales = residual[inner.labels], scales[inner.labels]  # a bound of the entries' own
    if rows:
        residual = np.append(residual, judged.residual[groups:].max())
        scales = np.append(scales, judged.scale[groups:].min())
    relative = float(np.min(plain.margin / scales, initial=math.inf))
    worst = float(residual.max(initial=0.0))
    status = "failed" if not worst <= tol else "degenerate" if relative < DEGENERATE else "certified"
    return replace(
        plain, residual=residual, absolute=residual * scales, scale=scales, relative_margin=relative, status=status
    )


def _by_atom(problem: Problem, form: Form, proof: Proof) -> Array:
    """Return what is proved of each atom of the regularizer."""
    inner = separable_form(problem)
    assert inner is not None
    size = problem.n_features * problem.n_outputs
    free = proof.groups[len(form.lam) - int(problem.intercept) * problem.n_outputs :] if problem.intercept else None
    proved = proof.entries[:size] if inner.atoms == "entries" else proof.groups[: len(inner.lam)]
    return proved.copy() if free is None else np.append(proved, free.all())


def _reason(problem: Problem, form: Form | None, best: Answer, status: str) -> str:
    """Return why a solution is not certified, and the remedy; nothing where it is."""
    if status == "certified":
        return ""
    if status == "unattained":
        return "F falls for ever along `direction` (free columns separate rows): penalize them, or add a ridge"
    if status == "degenerate":
        if best.certificate.relative_margin < DEGENERATE:
            return "an atom that is off has a margin of zero up to rounding: its place on or off is not determined"
        if form is not None and _tiny(problem, form, best.w):
            return "an active atom is below 1e-8 of its prox-gradient threshold: its place on or off is not determined"
        if form is None and np.isnan(np.asarray(problem.regularizer.atom_norms(best.w))).any():
            return "psi does not say how far its active atoms are from their kinks: give its class `atom_norms`"
        if (size := np.count_nonzero(best.w)) > LARGEST:
            return (
                f"uniqueness is proved for supports of up to {LARGEST} coordinates, this one has {size}: raise lam, "
                "or rely on the residual and the gap alone"
            )
        return "the solution is not proved unique (dependent columns), or an active atom is zero up to its error"
    if form is None or best.judged is None:
        return "the iteration ended above the tolerance: centre and scale the columns of X"
    scale = np.empty(form.size)
    scale[form.members] = form.of(best.judged.scale)
    lost = best.judged.terms / np.maximum(scale, np.finfo(float).tiny)
    if lost.max() > STATIONARY:
        worst = int(lost.argmax()) // problem.n_outputs
        name = "the intercept" if worst == problem.n_features else f"column {worst}"
        return (
            f"rounding w to doubles moves the gradient of {name} by up to {lost.max():.1e} of its scale: "
            "centre and scale the columns of X"
        )
    return "the iteration ended above the tolerance: centre or scale the columns of X, or raise lam"


def _warn_if_trivial(problem: Problem, solution: Solution) -> None:
    form = problem.penalty.separable(solution.coef.shape)
    if form is None or form.penalty not in PENALTIES or not (np.any(form.lam > 0) or np.any(form.l1 > 0)):
        return
    if solution.status in ("failed", "unattained") or math.isfinite(solution.smallest_active):
        return
    if not hasattr(problem.penalty, "lam"):
        return
    lam, largest = problem.penalty.lam, problem.lambda_max()
    warnings.warn(
        f"lam={lam:.6g} >= lambda_max={largest:.6g}: the solution is zero, choose a smaller lam",
        UserWarning,
        stacklevel=3,
    )
