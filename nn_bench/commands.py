"""The commands `manifold-id train | compare | tune | compress`; torch is imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from manifold_id.validation import path_of

if TYPE_CHECKING:
    import pandas as pd

    from manifold_id.report import Table
    from nn_bench.compare import Comparison, ComparisonResult
    from nn_bench.path import PathResult
    from nn_bench.result import TrainResult

THREADS = click.IntRange(min=1, max=1024)


@click.command()
@click.argument("config", required=False, type=click.Path())
@click.option("--out", type=click.Path(), help="Folder of the run.  [default: results/train-NAME]")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the file's; milestones move along.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed, instead of the file's.")
@click.option("--device", help="auto, cpu or cuda.")
@click.option("--precision", help="float32, float64, bfloat16 or float16.")
@click.option("--threads", type=THREADS, help="Threads of torch.")
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
    from nn_bench.training import train as run

    if threads is not None:
        torch.set_num_threads(threads)
    settings = (
        Comparison.from_toml("lenet5-digits").methods["RMDA"] if config is None else TrainConfig.from_toml(config)
    )
    if epochs is not None:
        settings = settings.shortened(epochs)
    given = {"seed": seed, "device": device, "precision": precision}
    settings = settings.changed(**{k: v for k, v in given.items() if v is not None})
    stem = "digits" if config is None else Path(config).stem
    result = run(settings, _folder(out, f"train-{stem}"), progress=True)
    if result.leads:
        _show_run(result)


@click.command()
@click.argument("spec", default="lenet5-digits")
@click.option("--path", is_flag=True, help="Every method at each lambda of its path: accuracy against group sparsity.")
@click.option("--out", type=click.Path(), help="Results folder.  [default: results/compare-NAME or results/path-NAME]")
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds, at most those of the file.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the file's; milestones move along.")
@click.option("--device", help="auto, cpu or cuda.")
@click.option("--threads", type=THREADS, help="Threads of torch.")
def compare(
    spec: str,
    path: bool,
    out: str | None,
    seeds: int | None,
    epochs: int | None,
    device: str | None,
    threads: int | None,
) -> None:
    """Compare methods on one network and data set.

    SPEC is a TOML file or the name of a built-in comparison: lenet5-digits, lenet5-fashion,
    lenet5-small-fashion, lenet5-mnist, planted-inputs, planted-channels, planted-teacher. Runs that
    are there already are not made again.
    """
    import torch

    from nn_bench.compare import Comparison
    from nn_bench.path import follow

    if threads is not None:
        torch.set_num_threads(threads)
    comparison = Comparison.from_toml(spec)
    settings: dict[str, Any] = {} if device is None else {"device": device}
    comparison = comparison.changed(seeds=seeds, epochs=epochs, **settings)
    folder = _folder(out, f"{'path' if path else 'compare'}-{comparison.name}")
    if path:
        _show_path(follow(comparison, folder, progress=True))
    else:
        _show_comparison(comparison.run(folder, progress=True))


@click.command()
@click.argument("spec", default="lenet5-digits")
@click.option("--out", type=click.Path(), help="Folder of the trials.  [default: results/tune-NAME]")
@click.option("--threads", type=THREADS, help="Threads of torch.")
def tune(spec: str, out: str | None, threads: int | None) -> None:
    """Choose learning rate and lambda of every method of a comparison, by an equal budget for all.

    SPEC is a TOML file or the name of a built-in comparison; its [tuning] table and grids say what is tried. The test
    images are not seen. A stopped search goes on where it was.
    """
    import torch

    from nn_bench.compare import Comparison

    if threads is not None:
        torch.set_num_threads(threads)
    comparison = Comparison.from_toml(spec)
    folder = _folder(out, f"tune-{comparison.name}")
    _show_tuning(comparison, comparison.search(folder, progress=True), folder)


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.option("--out", type=click.Path(), help="File of the weights.  [default: RUN/compressed.safetensors]")
def compress(run: str, out: str | None) -> None:
    """Take the zero groups out of a trained network.

    RUN is the folder of a finished run of `manifold-id train`. The smaller network is measured beside the whole one;
    nn_bench.compress.load_compressed loads it; where the network's code insists on its sizes, a graph is written that
    torch.export.load reads.
    """
    from nn_bench.compress import compression, report
    from nn_bench.data import load_images
    from nn_bench.metrics import evaluate
    from nn_bench.result import load_result
    from nn_bench.runtime import runtime

    result = load_result(Path(run))
    if result is None:
        raise ValueError(f"run={run!r} holds no finished run (no result.json): train one or finish it first")
    images = load_images(result.config.data).limited(None, result.config.test_rows)
    with runtime(result.config.changed(device="cpu", precision="float32")) as where:
        example = images.normalized(images.test[:4], where.dtype)
        done = compression(result.model, example)
        small = done.model
        measured = [(model, *evaluate(model, images, where)) for model in (result.model, small)]
        sizes = report(result.model, small, example).table()
    for name, (model, accuracy, loss) in zip(("whole", "compressed"), measured, strict=True):
        weights = sum(p.numel() for p in model.parameters())
        click.echo(f"{name:<11} {weights:>10,d} weights   accuracy {accuracy:.4f}   loss {loss:.6f}")
    click.echo(sizes)
    if done.kept:
        click.echo(done.table())
    path = done.save(Path(out or Path(run) / "compressed.safetensors"))
    click.echo(f"weights: {path}")


def _folder(out: str | None, name: str) -> Path:
    return Path("results") / name if out is None else path_of("out", out)


def write_report_again(folder: Path) -> bool:
    """Write and show the report of a run's, comparison's or search's folder; return False for one of something else."""
    if not any((folder / name).exists() for name in ("config.json", "result.json", "comparison.json", "tuning.json")):
        return False
    import pandas as pd

    from nn_bench.compare import COMPARED, TUNED, Comparison, ComparisonResult
    from nn_bench.path import FOLLOWED, PathResult
    from nn_bench.result import load_result
    from nn_bench.tuning import TRIALS

    if (folder / FOLLOWED).exists():
        _show_path(PathResult.load(folder))
    elif (folder / COMPARED).exists():
        _show_comparison(ComparisonResult.load(folder))
    elif (folder / TUNED).exists():
        _show_tuning(Comparison.load(folder / TUNED), pd.read_csv(folder / TRIALS), folder)
    else:
        result = load_result(folder)
        if result is None:
            raise ValueError(f"{str(folder)!r} holds no finished run: give the command that made it again")
        _show_run(result)
    return True


def _show_run(result: TrainResult) -> None:
    from nn_bench.report import write_run_report

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


def _show_comparison(result: ComparisonResult) -> None:
    from nn_bench.report import comparison_table, write_comparison_report

    _show_table(comparison_table(result))
    click.echo(f"report: {write_comparison_report(result)}")


def _show_path(result: PathResult) -> None:
    from nn_bench.report import path_table, write_path_report

    _show_table(path_table(result))
    click.echo(f"report: {write_path_report(result)}")


def _show_table(table: Table) -> None:
    widths = [max(len(str(cell)) for cell in column) for column in zip(table.columns, *table.rows, strict=True)]
    for row in (table.columns, *table.rows):
        click.echo("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show_tuning(comparison: Comparison, trials: pd.DataFrame, folder: Path) -> None:
    from nn_bench.report import write_tuning_report
    from nn_bench.tuning import TRIALS, chosen

    assert comparison.tuning is not None
    click.echo(comparison.tuned_by())
    click.echo(chosen(trials, comparison.tuning.drop).to_string(index=False))
    click.echo(f"all {len(trials)} trials: {folder / TRIALS}")
    click.echo(f"report: {write_tuning_report(comparison, trials, folder)}")
