"""The removable units of a network, from its labels."""

from __future__ import annotations

from collections import Counter

import numpy as np

from manifold_id.optim.flow.flow import Flow


class Units:
    """The units of a followed network, by number; -1 stands for what stays.

    Where a slice belongs to several (head h and coordinate d of an attention layer), it counts for the outermost.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._numbers: dict[int, int] = {}
        self._of: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # labels by identity, and the units of each
        axes = [axis.ids for value in flow.tensors.values() for axis in value.axes if axis.ids is not None]
        of_axes = [[self._live(int(i)) for i in ids] for ids in axes]
        for atoms in of_axes:
            common = set(atoms[0]).intersection(*atoms[1:])
            flow.labels.pin(common, "it is the whole axis")
        for ids in axes:
            for i in ids.tolist():
                live = self._live(i)
                flow.labels.pin(live[1:], "its slices belong to units along another axis")
                if live:
                    self._numbers.setdefault(live[0], len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def _live(self, label: int) -> tuple[int, ...]:
        return tuple(a for a in self.flow.labels.atoms(label) if self.flow.labels.reason(a) is None)

    def of(self, ids: np.ndarray | None, count: int) -> np.ndarray:
        """Return the unit of each index of an axis of `count` entries, -1 where it stays."""
        if ids is None:
            return np.full(count, -1)
        known = self._of.get(id(ids))
        if known is None:
            found = [[self._numbers.get(a, -1) for a in self._live(i)] for i in ids.tolist()]
            known = ids, np.array([next((u for u in units if u >= 0), -1) for units in found])
            self._of[id(ids)] = known
        return known[1]

    def along(self, name: str, axis: int) -> np.ndarray:
        """Return the unit of each slice of a parameter or buffer along an axis."""
        value = self.flow.tensors[name]
        return self.of(value.axes[axis].ids, value.shape[axis])

    def why(self, name: str, axis: int) -> str:
        """Return the most frequent reason for which slices of a parameter stay."""
        ids = self.flow.tensors[name].axes[axis].ids
        if ids is None:
            return "one slice only"
        reasons = Counter(
            reason for i in ids.tolist() for a in self.flow.labels.atoms(i) if (reason := self.flow.labels.reason(a))
        )
        return reasons.most_common(1)[0][0] if reasons else ""
