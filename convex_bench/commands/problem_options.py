"""The options of a command that name a problem, and the problem that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from convex_bench.problem import Problem

PENALTIES = {"l1": "L1", "group": "GroupLasso", "elastic": "ElasticNet", "sparse-group": "SparseGroupLasso"}
Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.argument("data", metavar="DATA"),
    click.option("--loss", default="logistic", show_default=True, help="logistic, squared or multinomial."),
    click.option("--penalty", type=click.Choice(list(PENALTIES)), default="l1", show_default=True),
    click.option("--groups", help='"natural" (of the data), a block size, or a file with one label a column.'),
    click.option("--ridge", type=float, help="Ridge of the elastic net.  [default: its class's]"),
    click.option(
        "--l1-ratio", type=float, help="Share of the l1 part of the sparse group lasso.  [default: its class's]"
    ),
    click.option("--intercept", is_flag=True, help="Add an unpenalized intercept."),
)


def problem_options(command: Command) -> Command:
    """Add DATA and the options of its problem to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def problem_of(options: Mapping[str, Any], *, lam: float | None, lam_ratio: float | None) -> Problem:
    """Return the problem of these options, by name as click passes them; see `build_problem`."""
    from convex_bench.specs.build import build_problem

    chosen: Any = options["groups"]
    if chosen is None and options["penalty"] in ("group", "sparse-group"):
        chosen = "natural"
    elif chosen is not None and chosen.isdecimal() and len(chosen) < 100:  # no int has thousands of digits
        chosen = int(chosen)
    return build_problem(
        options["data"],
        loss=options["loss"],
        regularizer=PENALTIES[options["penalty"]],
        parameters={name: options[name] for name in ("ridge", "l1_ratio") if options[name] is not None},
        groups=chosen,
        lam=lam,
        lam_ratio=lam_ratio,
        intercept=options["intercept"],
    )
