"""The command `manifold-id solve`; what is heavy is imported when it runs."""

from __future__ import annotations

from typing import Any

import click

from convex_bench.commands.problem_options import problem_of, problem_options


@click.command()
@problem_options
@click.option("--lam", type=float, help="Strength of the penalty.")
@click.option("--lam-ratio", type=float, help="Strength as a share of lambda_max.  [default: 0.1]")
@click.option("--solver", default="auto", show_default=True, help="auto or cvxpy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the coefficients included.")
def solve(lam: float | None, lam_ratio: float | None, solver: str, as_json: bool, **options: Any) -> None:
    """Solve one problem to a certificate.

    DATA is a name that `manifold-id data` lists or an svmlight file."""
    from convex_bench.ground_truth import solve as solve_problem
    from convex_bench.reports.solution_report import solution_json, solution_text

    if lam is None and lam_ratio is None:
        lam_ratio = 0.1
    problem = problem_of(options, lam=lam, lam_ratio=lam_ratio)
    solution = solve_problem(problem, solver=solver)
    click.echo(solution_json(problem, solution) if as_json else solution_text(options["data"], problem, solution))
