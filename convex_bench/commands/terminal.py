"""The terminal that commands print their tables on."""

from __future__ import annotations

from typing import Any


def console(width: int = 160) -> Any:
    """Return rich's console of the terminal, or where the output goes elsewhere one of that many columns."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=width)
