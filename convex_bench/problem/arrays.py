"""X and y as plain arrays, from arrays, masked arrays, tables and lists; what is missing or no number is named."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

Array = np.ndarray
LARGEST = 1e150  # number whose square may be summed over all rows or columns
EXACT = 2**53  # up to it float64 holds every integer, beyond it different integers become one


def plain_matrix(X: Any) -> tuple[Array, list[Any] | None]:
    """Return (X as an ndarray of real numbers, names of its columns or None for all but a pandas DataFrame).

    Raises
    ------
    TypeError
        If X, or a column of a DataFrame, does not hold real numbers.
    ValueError
        If rows have different lengths, or an entry is masked or None.
    """
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        names = list(X.columns)
        for name, dtype in zip(names, X.dtypes, strict=True):
            if getattr(dtype, "kind", "O") not in "fiub":
                raise TypeError(
                    f"X has column {name!r} of dtype {dtype}, but must hold real numbers: encode, convert or drop it"
                )
        single = bool(names) and all(dtype == np.float32 for dtype in X.dtypes)
        return X.to_numpy(dtype=np.float32 if single else np.float64, na_value=np.nan), names
    plain = _plain("X", X, "impute or remove the row")
    if plain.dtype.kind == "O":
        for at in np.ndindex(plain.shape):
            if is_missing(plain[at]):
                raise ValueError(f"X[{_shown(at)}] is {plain[at]}: impute or remove the row")
            if not isinstance(plain[at], Real):
                raise TypeError(f"X[{_shown(at)}]={plain[at]!r} must be a real number: encode or convert its column")
    if plain.dtype.kind not in "fiub":
        raise TypeError(f"X has dtype {plain.dtype}, but must hold real numbers: encode or convert its columns")
    return plain, None


def plain_labels(y: Any) -> Array:
    """Return y as an ndarray; a list of strings and others stays a list of objects, since NumPy would make them one.

    Raises
    ------
    ValueError
        If entries have different lengths, or one is masked.
    """
    plain = _plain("y", y, "remove the row or give it a label")
    if plain.dtype.kind in "US" and not hasattr(y, "dtype"):
        objects = np.asarray(y, dtype=object)
        if not all(isinstance(label, (str, bytes)) for label in objects.reshape(-1)):
            return objects
    return plain


def check_same_rows(X: Any, y: Any) -> None:
    """Raise ValueError where X and y both come from pandas and label the same positions differently.

    Rows are paired by position: a frame and a series that were sorted apart would be paired wrongly in silence.
    """
    if not (hasattr(X, "iloc") and hasattr(y, "iloc")) or len(X) != len(y) or X.index.equals(y.index):
        return
    at, a, b = next((i, a, b) for i, (a, b) in enumerate(zip(X.index, y.index, strict=True)) if a is not b and a != b)
    raise ValueError(
        f"y's index is not X's: row {at} is {a!r} in X and {b!r} in y. Pair them by label, "
        "y = y.loc[X.index], or, if the positions are right, give y.to_numpy()"
    )


def is_missing(value: Any) -> bool:
    """Tell whether one object is None, NaN, infinite, NaT or pandas.NA."""
    if value is None:
        return True
    if isinstance(value, Real):
        return isinstance(value, (float, np.floating)) and not np.isfinite(value)
    try:
        return bool(value != value)  # NaT and Decimal("NaN") differ from themselves
    except TypeError:  # of pandas.NA that is not known
        return True


def _plain(name: str, values: Any, remedy: str) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            at = tuple(np.argwhere(np.ma.getmaskarray(values))[0])
            raise ValueError(f"{name}[{_shown(at)}] is masked: {remedy}")
        return np.asarray(values.data)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is no array: its rows must all have the same length ({error})") from error


def _shown(at: tuple[Any, ...]) -> str:
    return ", ".join(str(i) for i in at)
