"""The commands `manifold-id train | compare | tune`; torch is imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("config", required=False, type=click.Path())
@click.option("--out", type=click.Path(), help="Folder of the run.  [default: results/train-NAME]")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the file's.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed, instead of the file's.")
@click.option("--device", help="auto, cpu or cuda.")
@click.option("--precision", help="float32, float64, bfloat16 or float16.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch.")
def train(
    config: str | None,
    out: str | None,
    epochs: int | None,
    seed: int | None,
    device: str | None,
    precision: str | None,
    threads: int | None,
) -> None:
    """Train one network and write its report.

    CONFIG is a TOML file; without one LeNet-5 learns the digits with RMDA. A stopped run goes on where it was. Under
    torchrun the work is divided among the processes.
    """
    import torch

    from nn_bench.compare import Comparison
    from nn_bench.config import TrainConfig
    from nn_bench.report import write_run_report
    from nn_bench.training import train as run

    if threads is not None:
        torch.set_num_threads(threads)
    settings = (
        Comparison.from_toml("lenet5-digits").methods["RMDA"] if config is None else TrainConfig.from_toml(config)
    )
    given = {"epochs": epochs, "seed": seed, "device": device, "precision": precision}
    settings = settings.changed(**{k: v for k, v in given.items() if v is not None})
    stem = "digits" if config is None else Path(config).stem
    result = run(settings, out or Path("results") / f"train-{stem}", progress=True)
    if not result.leads:
        return
    facts = result.facts
    click.echo(f"accuracy           {facts['accuracy']:.4f}   (at the proximal point {facts['prox_accuracy']:.4f})")
    click.echo(f"group sparsity     {facts['group_sparsity']:.4f}   (proximal: {facts['prox_group_sparsity']:.4f})")
    click.echo(f"zeros              {facts['sparsity']:.4f}   (proximal: {facts['prox_sparsity']:.4f})")
    if facts["stabilized_at"] is not None:
        click.echo(
            f"last change        step {facts['stabilized_at']} of {facts['steps']}   (proximal point: step "
            f"{facts['prox_stabilized_at']})"
        )
    click.echo(f"report: {write_run_report(result)}")


@click.command()
@click.argument("spec", default="lenet5-digits")
@click.option("--out", type=click.Path(), help="Results folder.  [default: results/compare-NAME]")
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds, at most those of the file.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the file's; milestones move along.")
@click.option("--device", help="auto, cpu or cuda.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch.")
def compare(
    spec: str, out: str | None, seeds: int | None, epochs: int | None, device: str | None, threads: int | None
) -> None:
    """Compare methods on one network and data set.

    SPEC is a TOML file or the name of a built-in comparison, lenet5-digits. Runs that are there already are not made
    again.
    """
    import torch

    from nn_bench.compare import Comparison
    from nn_bench.report import comparison_table, write_comparison_report

    if threads is not None:
        torch.set_num_threads(threads)
    comparison = Comparison.from_toml(spec)
    settings: dict[str, Any] = {} if device is None else {"device": device}
    comparison = comparison.changed(seeds=seeds, epochs=epochs, **settings)
    folder = Path(out or Path("results") / f"compare-{comparison.name}")
    result = comparison.run(folder, progress=True)
    table = comparison_table(result)
    widths = [max(len(str(cell)) for cell in column) for column in zip(table.columns, *table.rows, strict=True)]
    for row in (table.columns, *table.rows):
        click.echo("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"report: {write_comparison_report(result)}")


@click.command()
@click.argument("spec", default="lenet5-digits")
@click.option("--out", type=click.Path(), help="Folder of the trials.  [default: results/tune-NAME]")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch.")
def tune(spec: str, out: str | None, threads: int | None) -> None:
    """Choose learning rate and lambda of every method of a comparison, by an equal budget for all.

    SPEC is a TOML file or the name of a built-in comparison; its [tuning] table and grids say what is tried. The test
    images are not seen. A stopped search goes on where it was.
    """
    import torch

    from nn_bench.compare import Comparison
    from nn_bench.tuning import chosen

    if threads is not None:
        torch.set_num_threads(threads)
    comparison = Comparison.from_toml(spec)
    folder = Path(out or Path("results") / f"tune-{comparison.name}")
    trials = comparison.search(folder, progress=True)
    assert comparison.tuning is not None
    click.echo(comparison.tuned_by())
    click.echo(chosen(trials, comparison.tuning.drop).to_string(index=False))
    click.echo(f"all {len(trials)} trials: {folder / 'trials.csv'}")
