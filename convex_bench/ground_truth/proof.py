r"""A ball about a computed point that contains the solution, and the atoms that it proves on or off.

On the support S of w (nonzero coordinates, and free ones) F is smooth. With D^2 the diagonal of its Hessian H there,
let, both with their rounding,

    mu <= the smallest eigenvalue of D^-1 H D^-1,     eps >= |D^-1 (gradient of F on S)|_2.

Within |D (z - w)| <= r the Hessian is at least mu(r) D^2: the loss's part falls by at most exp(-R r) (generalized
self-concordance: the third derivative is at most the second, where margins move by at most R r; twice that for
softmax), a group's norm bends by the relative amount 1 / (1 + rho_g / |w_g|) and turns by 2 lam_g rho_g / |w_g|^2,
rho_g the group's share of the ball. If r mu(r) > eps, F grows from w in all directions at the ball's surface, so that
F on S has its minimizer z* inside (the argument of Newton and Kantorovich). z* minimizes F itself if the gradient of
the groups off cannot reach their kink: on the ball it moves by at most c sqrt(q_g) sqrt(sum_S q_j / D_j^2) r, with
q_j = |x_j|^2 / n. The margins of all minimizers agree, so then S holds every minimizer, and it is unique. A group is
on if |w_g| > rho_g.

Where H is singular (dependent columns) the solution is not unique. A Gap-Safe sphere still proves atoms off.
For the multinomial loss the sum over classes of a free row is fixed at that of w: f does not depend on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from convex_bench.ground_truth.doubled import U
from convex_bench.ground_truth.form import Form, restrict
from convex_bench.ground_truth.gap_safe import dual_point
from convex_bench.ground_truth.gram import Smooth
from convex_bench.ground_truth.model_step import norm_curvature, parts
from convex_bench.ground_truth.refine import Judged, column_squares
from convex_bench.problem import Problem
from manifold_id.certificate import Certificate
from manifold_id.regularizers import NuclearNorm, TotalVariation

Array = np.ndarray
LARGEST = 5000  # coordinates of a support whose Hessian is factored
INVERSE_STEPS = 8
EXACTLY = 300  # up to this size its smallest eigenvalue is computed, beyond a Cholesky factor bounds it
SELF_CONCORDANCE = {"squared": 0.0, "logistic": 1.0, "multinomial": 2.0}


@dataclass(frozen=True, eq=False)
class Proof:
    """radius: |w - w*|_2 <= radius (+inf: not known). entries: (size,) bool, coordinates proved zero or nonzero."""

    radius: float
    groups: Array
    entries: Array


def prove(smooth: Smooth, form: Form, judged: Judged) -> Proof:
    """Return what is proved of the solution near a judged point."""
    q = column_squares(smooth.problem)
    ball = _ball(smooth, form, judged, q)
    if ball is None:
        return _by_gap(smooth, form, judged, q)
    inverse, r, change = ball
    at = judged.at
    radii = inverse * r + np.abs(judged.low)
    v = judged.gradient + form.ridge * at.w
    reach = _reach(form, v, judged.error + 3 * U * np.abs(form.ridge * at.w))
    active = form.active(at.w)
    kink = form.lam + form.l1[form.members[form.start[:-1]]]
    moved = np.sqrt(form.sums(q[form.members])) * change
    group_radius = np.maximum.reduceat(radii[form.members], form.start[:-1])
    on = active & ((kink == 0) | (form.norms(at.w) > group_radius))
    reached = reach[form.members] if form.nonnegative else form.norms(reach)
    off = ~active & (reached + moved + 8 * U * np.diff(form.start) * (np.abs(reached) + moved) < form.lam)
    alone = np.abs(v) + judged.error + np.sqrt(q) * change < form.l1  # an entry inside its own interval
    off |= ~active & (form.lam == 0) & (form.sums((~alone[form.members]).astype(np.int64)) == 0)
    zero = at.w == 0
    holds = np.where(zero, alone | (form.l1 == 0), (np.abs(at.w) > radii) | (form.l1 == 0))
    entries = np.empty(form.size, dtype=bool)
    entries[form.members] = np.where(form.of(active), holds[form.members] & form.of(on), form.of(off))
    if not entries.all():  # z* is only the minimizer on S: nothing is proved of F's own by the ball
        return _by_gap(smooth, form, judged, q)
    radius = r * float(inverse.max(initial=0.0)) + float(np.linalg.norm(judged.low))
    return Proof(radius, on | off, entries)


def _reach(form: Form, v: Array, error: Array) -> Array:
    """Return how far each entry of minus the gradient may reach towards its kink; negative where w >= 0 holds it."""
    return -v + error if form.nonnegative else np.maximum(np.abs(v) + error - form.l1, 0.0)


def _ball(smooth: Smooth, form: Form, judged: Judged, q: Array) -> tuple[Array, float, float] | None:
    """Return (1 / D by flat coordinate, 0 off S; r; change of a gradient by sqrt(q)), or None where H is singular."""
    at, problem = judged.at, smooth.problem
    groups = np.flatnonzero(form.active(at.w))
    inverse = np.zeros(form.size)
    if groups.size == 0:
        return inverse, 0.0, 0.0
    coords, arrays = restrict(form, groups)
    z = at.w[coords]
    S, group, norms = parts(z, arrays)
    flat, mine = coords[S], group[S]
    if S.size == 0:
        return inverse, 0.0, 0.0
    if S.size > LARGEST:
        return None
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        H, share = smooth.gram_near(flat, smooth.curvature(at.margins))
        H[np.diag_indices_from(H)] += form.ridge[flat]
        psi = norm_curvature(z, S, group, norms, arrays, dense=True)
        H = H if psi is None else H + psi
        D = np.sqrt(np.diag(H))
        if not (np.isfinite(H).all() and (D > 0).all()):
            return None
        B = H / D / D[:, None]
    B = _fix_sums(smooth, form, flat, B, D)
    mu = share * _smallest(B, problem.n)
    if mu <= 0.0:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(norms[mine] > 0, z[S] / norms[mine], 0.0)
    slope = judged.gradient[flat] + form.ridge[flat] * (z[S] + judged.low[flat])
    slope = slope + arrays["lam"][mine] * unit + arrays["l1"][S] * np.sign(z[S])
    lost = judged.error[flat] + (len(S) + 8) * U * (
        np.abs(judged.gradient[flat]) + arrays["lam"][mine] + arrays["l1"][S]
    )
    lost += 4 * U * np.abs(form.ridge[flat] * z[S])
    eps = float(np.linalg.norm((np.abs(slope) + lost) / D)) * (1 + 1e-9)
    spread = math.sqrt(float((q[flat] / D**2).sum()))  # |X (z - w)| / sqrt(n) <= spread r
    row = SELF_CONCORDANCE[problem.loss.name] * spread * math.sqrt(problem.n)
    curved = (np.diff(arrays["start"]) > 1) & (arrays["lam"] > 0) & (norms > 0)
    widest = np.zeros(len(norms))
    np.maximum.at(widest, mine, 1.0 / D)
    r = 1.05 * eps / mu + 1e-300
    for _ in range(100):
        share, turn = 0.0, 0.0
        if curved.any():
            rho, size = r * widest[curved], norms[curved]
            share = float((rho / size).max())
            turn = float((2.0 * arrays["lam"][curved] * rho / size**2 * widest[curved] ** 2).max())
        if share > 0.5 or row * r > 30.0:
            return None
        if r * (mu * math.exp(-row * r) / (1.0 + share) - turn) > eps:
            inverse[flat] = 1.0 / D
            return inverse, r, problem.loss.curvature_bound * spread * r
        r *= 1.2
    return None


def _sum_square(D: Array) -> Array:
    """Return the square of a row's sum over classes in the scaled variable D z: zero where it is fixed."""
    u = 1.0 / D
    u /= np.linalg.norm(u)
    return np.outer(u, u)


def _fix_sums(smooth: Smooth, form: Form, flat: Array, B: Array, D: Array) -> Array:
    """Add the square of the sum over classes of each free row, which is fixed since f does not depend on it."""
    K = smooth.outputs
    if K == 1:
        return B
    free = form.unpenalized(form.lam == 0)
    rows, counts = np.unique(flat[free[flat]] // K, return_counts=True)
    for row in rows[counts == K]:
        places = np.flatnonzero(flat // K == row)
        B[np.ix_(places, places)] += _sum_square(D[places])
    return B


def _smallest(B: Array, n: int) -> float:
    """Return a lower bound of the smallest eigenvalue of the exact matrix that B (unit diagonal) approximates, or 0."""
    m = len(B)
    rounding = 4.0 * m * (n + m + 50.0) * U
    if m <= EXACTLY:
        return max(0.0, 0.99 * float(linalg.eigvalsh(B, check_finite=False, subset_by_index=[0, 0])[0]) - rounding)
    # a low bound widens the ball, of about 1e-14, by as much; a factor more costs as much as all the rest
    for guess in (lambda: 1e-3, lambda: 0.8 * _estimate(B), lambda: 1e-4, lambda: 1e-6, lambda: 1e-8):
        theta = guess()
        if theta > 2 * rounding and _positive(B, theta + rounding):
            return 0.99 * theta
    return 0.0


def _estimate(B: Array) -> float:
    """Return about the smallest eigenvalue by inverse iteration in single precision, or 0 where that is too coarse."""
    try:
        factor = linalg.cho_factor(B.T.astype(np.float32), lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return 0.0
    v = np.random.default_rng(0).standard_normal(len(B)).astype(np.float32)
    size = 1.0
    for _ in range(INVERSE_STEPS):
        v = linalg.cho_solve(factor, v / np.linalg.norm(v), check_finite=False)
        size = float(np.linalg.norm(v))
    return 1.0 / size


def _positive(B: Array, shift: float) -> bool:
    A = B.T.copy(order="F")  # B is symmetric up to rounding: LAPACK takes its transpose without another copy
    A[np.diag_indices_from(A)] -= shift
    try:
        linalg.cholesky(A, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return False
    return True


def _by_gap(smooth: Smooth, form: Form, judged: Judged, q: Array) -> Proof:
    """Return the atoms that a Gap-Safe sphere proves to be off; see `gap_safe`."""
    groups, entries = np.zeros(len(form.lam), dtype=bool), np.zeros(form.size, dtype=bool)
    if not form.nonnegative:
        problem, at = smooth.problem, judged.at
        point = dual_point(problem, form, at.w, at.margins, at.gradient)
        slack = 1e-14 * _size_of_the_gap(problem, at.margins, point.u, abs(at.value) + abs(form.value(at.w)))
        reach = 2.0 * problem.loss.curvature_bound * (point.gap + slack)
        if math.isfinite(reach):
            v = np.abs(point.gradient)
            rest = form.norms(np.maximum(v + judged.error * (judged.error < np.inf) - form.l1, 0.0))
            groups = rest + np.sqrt(reach * form.sums(q[form.members])) < form.lam
            alone = v + np.sqrt(reach * q) < form.l1
            groups |= form.sums((~alone[form.members]).astype(np.int64)) == 0
            entries[form.members] = form.of(groups)
            entries |= alone & (at.w == 0)
    return Proof(math.inf, groups, entries)


def prove_strongly_convex(problem: Problem, w: Array, certificate: Certificate, error: Array) -> tuple[float, Array]:
    r"""Return (radius, proved atoms) for a psi without separable form, where f itself is strongly convex.

    As above with S all coordinates and f's Hessian alone: psi is convex. The gradient then moves by at most
    G = c sqrt(sum_j q_j) spread r. A held atom stays held if its margin exceeds 2 sqrt(p) (G + |error|_2), which covers
    the sums along a total variation and the shift of a simplex's multiplier; an active one if it is further than twice
    the radius from its kink (entries, jumps; singular values by Weyl's inequality).
    """
    none = math.inf, np.zeros(len(certificate.codes), dtype=bool)
    if w.size > LARGEST:
        return none
    smooth = Smooth(problem)
    margins = problem.margins(w)
    H = smooth.gram(np.arange(w.size), smooth.curvature(margins))
    D = np.sqrt(np.diag(H))
    if not (D > 0).all():
        return none
    B, outside = H / D / D[:, None], 0.0
    if isinstance(problem.penalty, NuclearNorm) and problem.n_outputs > 1:
        # w 1 = 0 at every solution: f does not depend on w 1, and |w|_* falls where it is projected away
        K = problem.n_outputs
        for places in np.arange(w.size).reshape(-1, K):
            B[np.ix_(places, places)] += _sum_square(D[places])
        outside = float(np.linalg.norm(w.sum(axis=1))) / math.sqrt(K)
    mu = _smallest(B, problem.n)
    if mu <= 0.0:
        return none
    q = column_squares(smooth.problem)
    # a subgradient is the difference of neighbouring dual variables, on which the residuals of jumps are measured
    apart = 2.0 if isinstance(problem.penalty, TotalVariation) else 1.0
    sums = float(np.abs(problem.gradient(w)).sum()) + float(certificate.scale.max(initial=0.0))
    lost = np.linalg.norm(error) + 8.0 * (w.size + 8.0) * U * sums  # of running sums, means and singular vectors
    eps = float(apart * np.linalg.norm(certificate.absolute) + lost) / float(D.min())
    if isinstance(problem.penalty, NuclearNorm):  # judged at the nearest matrix of the rank that is claimed
        away = 20.0 * max(w.shape) * U * float(np.linalg.norm(w))
        eps, outside = eps + float(np.linalg.norm(B)) * float(D.max()) * away, outside + away
    spread = math.sqrt(float((q / D**2).sum()))
    row = SELF_CONCORDANCE[problem.loss.name] * spread * math.sqrt(problem.n)
    r = 1.05 * eps / mu + 1e-300
    if row * r > 1.0 or r * mu * math.exp(-row * r) <= eps:
        r *= 3.0
        if row * r > 1.0 or r * mu * math.exp(-row * r) <= eps:
            return none
    radius = r / float(D.min()) + outside
    change = problem.loss.curvature_bound * math.sqrt(float(q.sum())) * spread * r + float(np.linalg.norm(error))
    held = certificate.margin > 2.0 * math.sqrt(w.size) * change
    norms = np.asarray(problem.regularizer.atom_norms(w)).reshape(-1)
    on = norms > 2.0 * radius  # false where the norm is NaN: not known
    return radius, np.where(certificate.codes > 0, on, held)


def _size_of_the_gap(problem: Problem, margins: Array, u: Array, primal: float) -> float:
    """Return a bound of the size of the terms that primal minus dual is made of, up to which rounding moves it."""
    K = problem.n_outputs
    d, m = np.abs(u).reshape(problem.n, K), np.abs(margins).reshape(problem.n, K)
    total = primal + float((d * m).sum(axis=1).mean())  # u^T X w, where the free columns' part should vanish
    if problem.loss.name == "squared":
        return total + float((0.5 * d[:, 0] ** 2 + d[:, 0] * np.abs(problem.y)).mean())
    return total + math.log(max(K, 2))
