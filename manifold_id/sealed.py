"""JSON texts that tell whether they are what was written: with the sha256 of their own characters."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

_HEAD, _MIDDLE, _TAIL = b'{"sha256": "', b'",\n"record": ', b"}\n"


def sealed(value: Any, indent: int | None = 1) -> bytes:
    """Return the JSON text of `value` with its sha256; NaN and infinity are stored as null."""
    body = json.dumps(plain(value), indent=indent, allow_nan=False).encode()
    return _head(body) + body + _TAIL


def unsealed(data: bytes) -> Any:
    """Return the value of a `sealed` text; raises ValueError unless it is byte for byte what was written."""
    body = data[len(_head(b"")) : -len(_TAIL)]
    if data != _head(body) + body + _TAIL:
        raise ValueError("is not what was written")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # no JSON, or nested deeper than any record: sealed by somebody else
        raise ValueError("is not what was written") from None


def plain(value: Any) -> Any:
    """Return `value` in JSON types, NumPy scalars unpacked and non-finite numbers replaced by None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _head(body: bytes) -> bytes:
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _MIDDLE
