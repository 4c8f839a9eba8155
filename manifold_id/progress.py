"""The progress bar of long work: steps done and time left over all of it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """A bar over `total` steps on the terminal's error stream; nothing is drawn unless `show` and it is a terminal."""

    def __init__(self, total: int, show: bool = True) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (show and console.is_terminal),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def label(self, text: str) -> None:
        """Say what is being computed."""
        self._progress.update(self._task, description=text)

    def advance(self, steps: int) -> None:
        """Count steps that were just done."""
        self._progress.advance(self._task, steps)

    def skip(self, steps: int) -> None:
        """Take steps that were stored before out of the work, so that they do not enter the time left."""
        task = self._progress.tasks[0]
        self._progress.update(self._task, total=max((task.total or 0) - steps, 0))
