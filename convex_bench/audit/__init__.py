"""An audit of `solve`: random problems, each claim checked in arithmetic that shares nothing with the solver."""

from convex_bench.audit.draw import Case, draw
from convex_bench.audit.judge import judge

__all__ = ["Case", "draw", "judge"]
