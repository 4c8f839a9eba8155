"""The command `manifold-id data`; what is heavy is imported when it runs."""

from __future__ import annotations

import click

from convex_bench.commands.terminal import console


@click.command()
@click.argument("name", required=False)
def data(name: str | None) -> None:
    """List the data sets; with NAME, fetch and check that one."""
    from convex_bench.reports.data_table import data_table, describe_data

    if name is None:
        console().print(data_table())
    else:
        click.echo(describe_data(name))
