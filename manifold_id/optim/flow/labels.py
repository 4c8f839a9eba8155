"""Labels of slices: which are removed together. Union-find, and labels that stand for several others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


class Labels:
    """A label is removed or stays; what is found equal is removed together.

    A label may be *composed* of others and is then removed exactly if one of them is: entry (h, d) of a flattened
    pair of axes goes if head h or coordinate d does. A *pinned* label stays; `reason` says why.
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._parts: dict[int, tuple[int, ...]] = {}
        self._reasons: dict[int, str] = {}

    def fresh(self, count: int) -> np.ndarray:
        """Return new labels."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def compose(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return labels, each composed of the labels at its place in all of `parts`."""
        ids = self.fresh(len(parts[0]))
        for i, places in zip(ids.tolist(), np.stack(parts, axis=1).tolist(), strict=True):
            self._parts[i] = tuple(places)
        return ids

    def atoms(self, label: int) -> tuple[int, ...]:
        """Return the roots that a label is composed of, itself alone for a plain one."""
        root = self._find(label)
        if root not in self._parts:
            return (root,)
        return tuple(dict.fromkeys(atom for part in self._parts[root] for atom in self.atoms(part)))

    def pin(self, labels: Iterable[int], reason: str) -> None:
        """Let the labels stay."""
        for label in labels:
            for atom in self.atoms(int(label)):
                self._reasons.setdefault(atom, reason)

    def reason(self, atom: int) -> str | None:
        """Return why an atom stays, or None."""
        return self._reasons.get(self._find(atom))

    def unite(self, a: np.ndarray, b: np.ndarray, reason: str) -> None:
        """Let the labels at equal places be removed together; pin what can't be, for the given reason."""
        if a is b or np.array_equal(a, b):
            return
        for i, j in zip(a.tolist(), b.tolist(), strict=True):
            if self._find(i) != self._find(j):
                self._unite(self.atoms(i), self.atoms(j), reason)

    def _find(self, label: int) -> int:
        root = label
        while (up := self._parent[root]) != root:
            root = up
        while (up := self._parent[label]) != root:
            self._parent[label], label = root, up
        return root

    def _unite(self, a: tuple[int, ...], b: tuple[int, ...], reason: str) -> None:
        a, b = tuple(x for x in a if x not in b), tuple(x for x in b if x not in a)
        if len(a) == len(b):
            for x, y in zip(a, b, strict=True):
                self._merge(self._find(x), self._find(y))
        elif 1 in (len(a), len(b)) and a and b:
            (alone,), several = (a, b) if len(a) == 1 else (b, a)
            self._parts[alone] = several
            if (why := self._reasons.pop(alone, None)) is not None:
                self.pin(several, why)
        else:  # no rule by single labels makes these equal
            self.pin((*a, *b), reason)

    def _merge(self, x: int, y: int) -> None:
        if x == y:
            return
        keep, other = min(x, y), max(x, y)
        self._parent[other] = keep
        why = self._reasons.pop(other, None)
        if why is not None:
            self._reasons.setdefault(keep, why)
