"""The log of a run, one row an epoch: CSV and TensorBoard."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

from nn_bench.stored import write_text

LOG = "log.csv"


class EpochLog:
    """Rows of one dictionary an epoch, all with the same keys; `epoch` and `step` are among them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._board: Any = None

    def add(self, row: dict[str, Any], folder: Path | None) -> None:
        """Append a row; given a folder, write log.csv, whole, and the row as scalars over the steps to tensorboard/."""
        self.rows.append(row)
        if folder is None:
            return
        self.save(folder)
        new = [row]
        if self._board is None:  # of a run that goes on: one file with all epochs takes the place of the old ones
            from torch.utils.tensorboard import SummaryWriter

            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            self._board, new = SummaryWriter(str(folder / "tensorboard")), self.rows
        for each in new:
            for name, value in each.items():
                if name not in ("epoch", "step"):
                    self._board.add_scalar(name, value, each["step"])
        self._board.flush()

    def save(self, folder: Path) -> None:
        """Write log.csv, whole."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(folder / LOG, text.getvalue())

    def close(self) -> None:
        """Close TensorBoard's file, if there is one."""
        if self._board is not None:
            self._board.close()
            self._board = None
