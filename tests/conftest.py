"""Settings shared by all tests."""

import os
from pathlib import Path

# Data that is not packed is used where it lies beside the repository; tests that need it skip elsewhere.
_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if _BESIDE.is_dir():
    os.environ.setdefault("MANIFOLD_ID_DATA", str(_BESIDE))
os.environ.setdefault("MPLBACKEND", "Agg")
