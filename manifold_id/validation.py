"""Checks of arguments: each failure is one sentence that names the argument, its value and the remedy."""

from __future__ import annotations

import difflib
import math
import os
import unicodedata
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

LARGEST = 2**63 - 1  # that arrays and compiled loops can count to


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> ValueError:
    """Return the error for a `name` that is not among the `valid` ones of its `kind`; it suggests the nearest."""
    choices = sorted(valid)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"{kind}={name!r} is not known: {hint}choose one of {', '.join(choices)}")


def real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a float in [low, high]; `open_low` and `open_high` exclude the end.

    Raises
    ------
    TypeError
        If the value is not a real number.
    ValueError
        If it is NaN, infinite or outside the interval.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} must be a real number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # of an int that no float reaches
        number = math.inf
    inside = (low < number if open_low else low <= number) and (number < high if open_high else number <= high)
    if not math.isfinite(number) or not inside:
        left = "(" if open_low or low == -math.inf else "["
        right = ")" if open_high or high == math.inf else "]"
        raise ValueError(f"{name}={value!r} must be a finite number in {left}{low:g}, {high:g}{right}")
    return number


def integer(name: str, value: Any, low: int = -LARGEST, high: int = LARGEST) -> int:
    """Return `value` as an int in [low, high], by default what 64 bits hold.

    Raises
    ------
    TypeError
        If the value is no integer.
    ValueError
        If it is outside the interval.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} must be an integer, not {type(value).__name__}")
    number = int(value)
    if number < low:
        raise ValueError(f"{name}={value!r} must be at least {low}")
    if number > high:
        raise ValueError(f"{name}={value!r} must be at most {high}")
    return number


def flag(name: str, value: Any) -> bool:
    """Return `value`; raises TypeError unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} must be True or False")
    return value


def path_of(name: str, value: Any) -> Path:
    """Return `value` as a path, the user's home folder written out.

    Raises
    ------
    TypeError
        If it is no text or path.
    ValueError
        If it is empty or holds a character that no path can have.
    """
    try:
        text = os.fspath(value)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(f"{name}={value!r} must be a path, as a string or pathlib.Path, not {type(value).__name__}")
    if not text or "\0" in text:
        raise ValueError(f"{name}={value!r} is no path: name a folder or file")
    return Path(text).expanduser()


def one_line(name: str, text: str) -> None:
    """Raise ValueError where a text has line breaks or other characters that cannot be shown in a line."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"{name}={text!r} has the character {character!r}: use what can be shown in one line")
