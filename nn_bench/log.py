"""The log of a run, one row an epoch (CSV, and TensorBoard where it is installed)."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path
from typing import Any

from manifold_id.files import write_text


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
