"""Local linear convergence: once on the manifold, the rate is that of the Hessian restricted to it."""

from __future__ import annotations

import numpy as np

from manifold_id.theory.base import Assumption, Curve, Evidence, Theorem, Verdict, decide
from manifold_id.theory.structure_record import LastErrors

Array = np.ndarray

LOCAL_RATE = Theorem(
    name="local-linear-rate",
    title="After identification the rate is set by the restricted Hessian",
    statement="Forward-backward with step g < 2/L on polyhedral psi with restricted injectivity: after "
    "identification |x_k - x*| falls at the rate rho = max(|1 - g lam_min|, |1 - g lam_max|), lam the "
    "eigenvalues of the Hessian on the tangent space. FISTA with g = 1/L: its slowest component turns by "
    "arccos(sqrt rho) a step and falls at the rate sqrt(rho) > rho. SAGA with g = 1/(3 L): at most rho = sqrt(1 - "
    "min(1/(4 n), lam_min/(3 L))) a step, L = max_i L_i. Prox-SVRG with g < 1/(4 L) and epochs of P steps: the gap "
    "falls at least by 1 / (lam_min g (1 - 4 L g) P) + 4 L g (P + 1) / ((1 - 4 L g) P) an epoch.",
    latex=r"\lim\frac{\|x_{k+1}-x^*\|}{\|x_k-x^*\|}=\rho\big(I-\gamma P_T\nabla^2f(x^*)P_T\big)\quad\text{on "
    r"}T,\qquad z^2-2\rho z+\rho=0\ \text{for FISTA}",
    source="Liang, Fadili and Peyre (2017) for forward-backward (worded from memory; for l1 it is the power "
    "method on I - g H_T, exact after identification); the SAGA constant is that of the code of Poon, Liang and "
    "Schoenlieb (ICML 2018); that of SVRG is Xiao and Zhang (2014), with the curvature on the manifold in place of "
    "the strong convexity. FISTA: derived; once its momentum is near 1, the component along an eigenvalue lam of H_T "
    "obeys x_{k+1} = eta (2 x_k - x_{k-1}), eta = 1 - g lam, whose roots are sqrt(eta) exp(+-i arccos sqrt(eta)).",
    measured="The slope of log |x_k - x*| between identification and 1e-12, last half of that range, against "
    "log rho: within 2 % for the slowest of ten random starts of forward-backward, all with a large component along "
    "the slowest eigenvector (without it a start is faster, as the rate is an upper limit); at most the bound for SAGA "
    "and prox-SVRG, for every seed (SVRG's constant is stated for averaged snapshots, and measured with the last "
    "iterates that the method takes; it is far above what is observed). FISTA after identification: the mean distance "
    "of the sign changes of its component along the slowest eigenvector, against pi / arccos(sqrt rho) within 2 %; "
    "and forward-backward, later on the manifold from the same start, overtakes it on the way to 1e-12.",
    control="Before identification: a start a hundred times as far away, on the steps with more coordinates active "
    "than there are rows. The Hessian on those is singular, only the threshold moves the point in its kernel, by a "
    "constant length a step, and the distance hardly falls by a factor. And with two equal active columns, where the "
    "restricted Hessian is singular, rho = 1, and the iterates still converge to their own limit at another rate.",
)

TOLERANCE = 0.02


def last_half(start: int, stop: int) -> tuple[int, int]:
    """Return the last half of the steps start .. stop, where the slowest component is alone."""
    return start + (stop - start) // 2, stop


def local_rate(distance: Array, window: tuple[int, int], rho: float, last: LastErrors | None = None) -> Verdict:
    """Return the verdict on forward-backward: distance (K + 1,) from x_0, fitted on the steps of `window`.

    `last` are the last points with wrong structure, reported.
    """
    steps = np.arange(*window)
    slope = float(np.polyfit(steps, np.log(distance[steps]), 1)[0])
    expected = float(np.log(rho))
    error = abs(slope - expected) / max(abs(expected), 1e-3)  # where rho = 1, any rate that differs by 1e-3
    k = np.unique(np.linspace(0, len(distance) - 1, 200).astype(int))
    line = distance[window[0]] * rho ** (k - window[0])
    figure = Evidence(
        "Distance to the solution",
        "step",
        "|x_k - x*|",
        (Curve("forward-backward", k.astype(float), distance[k]), Curve("predicted rate", k.astype(float), line)),
        yscale="log",
    )
    return decide(
        error <= TOLERANCE,
        (Assumption("steps fitted", len(steps), len(steps) >= 10),),
        f"rate {np.exp(slope):.6f} observed, {rho:.6f} predicted (log rates differ by {error:.1%})",
        "log rate within 2 %",
        error,
        seeds=1,
        samples=len(steps),
        evidence=(figure,),
        figures={} if last is None else last.figures(),
    )


def within_bound(steps: Array, distance: Array, bound: float) -> Verdict:
    """Return the verdict on a linear bound: distance (k, seeds) at `steps`, no slope of a seed above log bound."""
    slopes = np.polyfit(steps, np.log(distance), 1)[0]
    low, middle, high = float(slopes.min()), float(np.median(slopes)), float(slopes.max())
    return decide(
        high <= np.log(bound),
        (Assumption("rho < 1", bound, bound < 1), Assumption("distances fitted", len(steps), len(steps) >= 3)),
        f"rate {np.exp(middle):.6f} observed [{np.exp(low):.6f}, {np.exp(high):.6f}], bound {bound:.6f}",
        "log rate of every seed <= log of the bound",
        middle,
        (low, high),
        distance.shape[1],
        distance.size,
    )


def svrg_factor(lipschitz: float, curvature: float, step: float, epoch: int) -> float:
    """Return the factor of the gap an epoch of prox-SVRG (Xiao and Zhang 2014, Theorem 3.1); step < 1/(4 lipschitz)."""
    rest = 1 - 4 * lipschitz * step
    return 1 / (curvature * step * rest * epoch) + 4 * lipschitz * step * (epoch + 1) / (rest * epoch)


def oscillation(component: Array, rho: float, finished: tuple[int, int]) -> Verdict:
    """Return the verdict on FISTA: the sign changes of its slowest component, and that it is overtaken.

    Parameters
    ----------
    component
        <v, x_k - x*> at the steps after identification, (k,), v the eigenvector of rho.
    rho
        The local rate of forward-backward.
    finished
        Steps after which FISTA and forward-backward, from the same start, stay below 1e-12.
    """
    before = np.flatnonzero(component[1:] * component[:-1] < 0)
    zeros = before + component[before] / (component[before] - component[before + 1])
    observed = float(np.diff(zeros).mean()) if len(zeros) > 1 else np.inf
    predicted = float(np.pi / np.arccos(np.sqrt(rho)))
    error = abs(observed / predicted - 1)
    k = np.arange(len(component), dtype=float)
    curves = (
        Curve("|component| of FISTA", k, np.abs(component)),
        Curve("predicted envelope", k, np.abs(component).max() * rho ** (k / 2)),
    )
    return decide(
        error <= TOLERANCE and finished[1] < finished[0],
        (Assumption("sign changes", len(zeros), len(zeros) >= 10),),
        f"a sign change each {observed:.3f} steps observed, {predicted:.3f} predicted; at 1e-12 after "
        f"{finished[0]} steps, forward-backward after {finished[1]}",
        "within 2 %; forward-backward first",
        error,
        seeds=1,
        samples=len(zeros),
        evidence=(Evidence("Slowest component after identification", "step", "|component|", curves, yscale="log"),),
    )
