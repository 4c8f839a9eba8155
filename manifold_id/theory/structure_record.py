"""What the theorems read of a set of runs: where structure was wrong, false positives and false negatives apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class LastErrors:
    """The last step with a false positive and the last with a false negative of every run, 0 = never; any shape.

    They have different causes, the margin and the smallest active atom, and are told apart wherever a time is stated.
    """

    false_positive: Array
    false_negative: Array

    def __str__(self) -> str:
        positive, negative = self.false_positive, self.false_negative
        return (
            f"last false positive: median {np.median(positive):.0f}, max {positive.max():.0f}; "
            f"last false negative: median {np.median(negative):.0f}, max {negative.max():.0f}"
        )

    def figures(self) -> dict[str, float]:
        """Return medians and maxima by name."""
        both = {"last false positive": self.false_positive, "last false negative": self.false_negative}
        return {
            f"{name}, {kind}": float(f(steps))
            for name, steps in both.items()
            for kind, f in (("median", np.median), ("max", np.max))
        }


@dataclass(frozen=True, eq=False)
class StructureRecord:
    """Wrong structure at the steps 1 .. T of several seeds.

    Attributes
    ----------
    false_positive, false_negative
        Boolean (T, seeds): at this step some atom is active that is off at the solution; is off that is active there.
        (A code that differs while both are active or both are off, as between two bounds, counts as a false positive.)
    departures
        (T, seeds) how many atoms are wrong at a step that were right before it; None: whether the structure is.
    """

    false_positive: Array
    false_negative: Array
    departures: Array | None = None

    @property
    def steps(self) -> int:
        """T."""
        return int(self.false_positive.shape[0])

    @property
    def seeds(self) -> int:
        """The number of runs."""
        return int(self.false_positive.shape[1])

    @property
    def wrong(self) -> Array:
        """Boolean (T, seeds): the structure is not the solution's."""
        return self.false_positive | self.false_negative

    @property
    def departed(self) -> Array:
        """(T, seeds): `departures`, or what the whole structure tells of them."""
        if self.departures is not None:
            return self.departures
        wrong = self.wrong
        return np.concatenate([np.zeros_like(wrong[:1]), wrong[1:] & ~wrong[:-1]])

    @property
    def last_false_positive(self) -> Array:
        """(seeds,) the last step with a false positive, 0 = never."""
        return last_true(self.false_positive)

    @property
    def last_false_negative(self) -> Array:
        """(seeds,) the last step with a false negative, 0 = never."""
        return last_true(self.false_negative)

    @property
    def last_wrong(self) -> Array:
        """(seeds,) the last step off the manifold, 0 = never; the identification time is one more."""
        return last_true(self.wrong)

    def both(self) -> LastErrors:
        """Return the last steps of both kinds."""
        return LastErrors(self.last_false_positive, self.last_false_negative)

    def late_share(self, share: float = 0.25) -> Array:
        """(seeds,) the share of the last `share` of the steps on which the structure is wrong."""
        return self.wrong[self.steps - max(1, int(self.steps * share)) :].mean(axis=0)


def last_true(flags: Array) -> Array:
    """Return for each column of (T, seeds) the last step (counted from 1) that is true, 0 if none is."""
    reverse = flags[::-1]
    return np.where(flags.any(axis=0), len(flags) - reverse.argmax(axis=0), 0).astype(np.int64)


def compare(codes: Array, reference: Array) -> tuple[Array, Array]:
    """Return (false positive, false negative), one boolean for each point of the batch of codes (*batch, atoms)."""
    negative = (codes <= 0) & (reference > 0)
    positive = (codes != reference) & ~negative & ~((codes > 0) & (reference > 0))
    return np.asarray(positive.any(axis=-1)), np.asarray(negative.any(axis=-1))
