"""The line on which each key of a TOML text stands, for error messages."""

from __future__ import annotations

import tomllib
from typing import Any

KeyPath = tuple[str, ...]


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return, for each key and table of a valid TOML `text`, the line (from 1) where it is first written.

    A header or `key = value` is a TOML document of its own, so each statement is read by the TOML parser itself:
    dotted and quoted keys, inline tables, multi-line strings and arrays need no grammar here. A statement ends with
    the first line that makes it a valid document. The keys of an inline table stand on the line of their statement.
    """
    lines = text.splitlines()
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    start = 0
    while start < len(lines):
        stripped = lines[start].strip()
        if not stripped or stripped.startswith("#"):
            start += 1
            continue
        stop = start + 1
        while True:
            try:
                value = tomllib.loads("\n".join(lines[start:stop]))
                break
            except tomllib.TOMLDecodeError:
                if stop == len(lines):  # not TOML: the parser of the whole text has reported it before
                    return found
                stop += 1
        if stripped.startswith("["):
            table = max(_paths(value), key=len)
            for depth in range(1, len(table) + 1):
                found.setdefault(table[:depth], start + 1)
        else:
            for path in _paths(value):
                found.setdefault(table + path, start + 1)
        start = stop
    return found


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int | None:
    """Return the line of `path`, or of its nearest ancestor that is written in the file, or None."""
    for depth in range(len(path), 0, -1):
        if path[:depth] in lines:
            return lines[path[:depth]]
    return None


def _paths(value: Any, prefix: KeyPath = ()) -> list[KeyPath]:
    """Return the key paths of nested tables, outer ones first."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1]  # [[table]]
    if not isinstance(value, dict):
        return []
    paths: list[KeyPath] = []
    for key, inner in value.items():
        paths += [(*prefix, key), *_paths(inner, (*prefix, key))]
    return paths
