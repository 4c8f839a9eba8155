"""Sealed texts: read back as written, refused when a single bit differs."""

import hashlib
import json

import numpy as np
import pytest

from manifold_id.sealed import sealed, unsealed

VALUE = {"a": [1, 2.5, "ü\n"], "b": {"c": None}}


@pytest.mark.parametrize("indent", [None, 1])
def test_what_is_sealed_is_read_back(indent):
    data = sealed(VALUE, indent)
    assert unsealed(data) == json.loads(data)["record"] == VALUE


def test_there_is_no_nan():
    value = {"a": [np.float64("nan"), np.int64(3), np.inf], "b": np.arange(2)}
    assert unsealed(sealed(value)) == {"a": [None, 3, None], "b": [0, 1]}


def test_every_bit_counts():
    data = sealed(VALUE)
    for place in range(8 * len(data)):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match="is not what was written"):
            unsealed(bytes(changed))


def of(body):
    return b'{"sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'",\n"record": ' + body + b"}\n"


@pytest.mark.parametrize("data", [b"", b"{}", sealed(VALUE)[:-1], sealed(VALUE) + b"\n", of(b"{"), of(b"[" * 100_000)])
def test_what_is_no_sealed_text_is_refused(data):
    assert unsealed(of(b"{}")) == {}
    with pytest.raises(ValueError, match="is not what was written"):
        unsealed(data)
