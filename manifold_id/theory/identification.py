"""Finite identification: from some step on the structure is right and stays so."""

from __future__ import annotations

from manifold_id.theory.base import Assumption, Theorem, Verdict, decide
from manifold_id.theory.curves import figure_of_runs
from manifold_id.theory.intervals import clopper_pearson
from manifold_id.theory.structure_record import StructureRecord

IDENTIFICATION = Theorem(
    name="rmda-identification",
    title="RMDA identifies the manifold in finitely many steps and stays on it",
    statement="If the proximal points of RMDA converge to W*, psi is partly smooth at W* relative to M and -grad "
    "f(W*) lies in the relative interior of d psi(W*), then almost surely there is a step from which all "
    "proximal points lie in M.",
    latex=r"\tilde W^t\to W^*,\ -\nabla f(W^*)\in\operatorname{ri}\partial\psi(W^*)\ \Rightarrow\ \exists "
    r"T_0\,\forall t\ge T_0:\ \tilde W^t\in\mathcal M",
    source="Huang and Lee, ICLR 2022, Theorem 2 (worded from memory); for separable psi it follows from the "
    "optimality condition of the subproblem and the convergence of the normalized dual average.",
    measured="A run of T steps cannot show 'for ever': identified means right on the whole last half of the "
    "run. The share of identified runs, for five kinds of manifold with additive noise (l1 once more at twice the "
    "length), and with one data row a step: planted logistic regression with l1 and with groups, and the census "
    "data a9a with groups at its certified solution; last false positive and last false negative apart. Data rows "
    "need a step small enough for the iterate not to fluctuate by its smallest active norm, else false negatives "
    "come late.",
    control="Proximal SGD with noise beyond the margin, on the quadratic and on a9a; margin 0, judged as if it were "
    "0.3, under RMDA and RDA; RMDA with constant momentum weight c < 1 read at the averaged iterate, which keeps a "
    "factor (1 - c)^t of old nonzero entries, and whose rank is that of a mixture; nonconvex penalties under dual "
    "averaging, whose prox parameter alpha/beta grows without bound; beta growing like alpha.",
)

SHARE = 0.9


def identification(record: StructureRecord, margin: float, noise: float) -> Verdict:
    """Return the verdict: the 95 % lower limit of the share of identified runs must exceed 0.9.

    Parameters
    ----------
    record
        Wrong structure of all runs.
    margin
        The nondegeneracy margin of the instance; the statement assumes that it is positive.
    noise
        Standard deviation of a gradient's coordinate; reported.
    """
    last, steps, seeds = record.last_wrong, record.steps, record.seeds
    identified = int((last <= steps / 2).sum())
    low, high = clopper_pearson(identified, seeds, 0.9)  # one-sided 95 %
    flags = {"false positives": record.false_positive, "false negatives": record.false_negative}
    figure = figure_of_runs("Runs with wrong structure", flags)
    return decide(
        low > SHARE,
        (Assumption("margin", margin, margin > 0), Assumption("noise", noise, noise >= 0)),
        f"{identified} of {seeds} runs identified ({record.both()}; {steps} steps)",
        "95 % lower limit of the share of runs that are right on the whole last half > 0.9",
        identified / seeds,
        (low, high),
        seeds,
        record.wrong.size,
        evidence=(figure,),
        figures={"late wrong share": float(record.late_share().mean()), **record.both().figures()},
    )
