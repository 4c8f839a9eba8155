"""TOML files as users write them: read with a sentence that names file and line where one is none."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

DEEPEST = 100  # tables within tables; what reads the values goes down them one call at a time


def read_toml(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """Return (values, text) of a TOML file in UTF-8, with a byte-order mark or without.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not TOML in UTF-8, or is nested more than 100 deep; the message begins with file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = line[1] if line else len(text.splitlines())
        raise ValueError(f"{path}:{where}: is not valid TOML: {error}") from error
    except ValueError as error:  # of an integer with more digits than Python reads
        raise ValueError(f"{path}: holds a number that cannot be read: {error}") from error
    except RecursionError:
        values = None
    if values is None or _too_deep(values):
        raise ValueError(f"{path}: is nested more than {DEEPEST} deep: write its tables and lists flat")
    return values, text


def _too_deep(values: Any) -> bool:
    level = [values]
    for _ in range(DEEPEST):
        level = [item for inner in level for item in (inner.values() if isinstance(inner, dict) else inner)]
        level = [item for item in level if isinstance(item, (dict, list))]
    return bool(level)
