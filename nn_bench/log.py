"""The log of a run, one row an epoch (CSV, and TensorBoard where it is installed), and the progress bar."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from nn_bench.checkpoint import write_text


class EpochLog:
    """Rows of one dictionary an epoch, all with the same keys."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._board: Any = None

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.rows.append(row)

    def write(self, folder: Path) -> None:
        """Write log.csv, whole, and the last row to TensorBoard's files if that package is installed."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(folder / "log.csv", text.getvalue())
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = self._board or SummaryWriter(str(folder / "tensorboard"))
            row = self.rows[-1]
            for name, value in row.items():
                self._board.add_scalar(name, value, row["step"])
            self._board.flush()


class Progress:
    """A bar over the steps of a run, with the time left; nothing is drawn unless `show` and stderr is a terminal."""

    def __init__(self, total: int, show: bool) -> None:
        console = Console(stderr=True)
        columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        shown = show and console.is_terminal
        self._progress = RichProgress(TextColumn("{task.description}"), *columns, console=console, disable=not shown)
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def label(self, text: str) -> None:
        """Say where the run stands."""
        self._progress.update(self._task, description=text)

    def advance(self, steps: int) -> None:
        """Count steps that were done."""
        self._progress.advance(self._task, steps)

    def skip(self, steps: int) -> None:
        """Take steps that were done before out of the work."""
        task = self._progress.tasks[0]
        self._progress.update(self._task, total=(task.total or 0) - steps)
