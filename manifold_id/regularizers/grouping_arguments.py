"""The arguments `groups`, `axis` and `weights` of the regularizers: checked, and brought to one hashable form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from manifold_id.regularizers.blocks import Blocks
from manifold_id.regularizers.groupings import Entries, Grouping, Slices
from manifold_id.validation import integer, real, unknown_name


class Labels(tuple[int, ...]):
    """One label 0 ... G-1 for each feature, and the names that the groups were given; equal to the bare tuple.

    The repr is the tuple's: what a regularizer computes does not depend on the names.
    """

    names: tuple[str, ...]


def parse_groups(groups: Any) -> int | tuple[int, ...] | None:
    """Return `groups` as None, the size of equal contiguous blocks, or one label 0 ... G-1 for each feature.

    Labels and the keys of a mapping are remembered as the groups' names; index lists are named by their number.

    Parameters
    ----------
    groups
        None | int | list of index lists, which partition range(d) and are numbered in their order | mapping of names
        to index lists, numbered likewise | 1-D array of labels (integers or strings, numbered in their sorted order).

    Raises
    ------
    TypeError
        For indices or labels of another type, or of two types; for a set, which has no order.
    ValueError
        For groups that overlap, miss a feature, are empty or share a name; for an array of labels that is not 1-D, or
        has masked entries.
    """
    if groups is None or isinstance(groups, Labels):
        return groups
    if isinstance(groups, Integral) and not isinstance(groups, bool):
        return integer("groups", groups, 1)
    if isinstance(groups, (str, bytes, bool, float)) or not isinstance(groups, Iterable):
        raise TypeError(
            f"groups={groups!r} must be a list of index lists, one label for each feature, or an int (block size)"
        )
    if isinstance(groups, (set, frozenset)):
        raise TypeError(f"groups={groups!r} is a set, which has no order: give a list, or a mapping of names to groups")
    if isinstance(groups, Mapping):
        return _from_index_lists(list(groups.values()), _names("groups", groups))
    _refuse_masked("groups", groups)
    if not hasattr(groups, "ndim"):
        groups = list(groups)
        if any(_is_list(g) for g in groups):
            return _from_index_lists(groups)
        if len({isinstance(label, str) for label in groups}) > 1:
            raise TypeError(f"groups={groups!r} mixes strings with other labels: give integers or strings")
    return _from_labels(np.asarray(groups))


def _is_list(group: Any) -> bool:
    return isinstance(group, Iterable) and not isinstance(group, (str, bytes)) and getattr(group, "ndim", 1) > 0


def _refuse_masked(name: str, values: Any) -> None:
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked entries, of which nothing is known: fill them or leave them out")


def _names(argument: str, mapping: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the keys, strings or integers, as names; raises where they are of another type or not distinct."""
    for key in mapping:
        if isinstance(key, bool) or not isinstance(key, (str, Integral)):
            raise TypeError(f"{argument} has the key {key!r}: give integers or strings as the names of groups")
    names = tuple(map(str, mapping))
    if len(set(names)) < len(names):
        raise ValueError(f"{argument} has the keys {list(mapping)!r}, of which two have one name: names must differ")
    return names


def _from_labels(labels: np.ndarray) -> Labels:
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"groups has shape {labels.shape}: give a 1-D array with one label for each feature")
    if labels.dtype.kind == "f" and np.all((labels == np.round(labels)) & (np.abs(labels) < 2.0**53)):
        labels = labels.astype(np.int64)  # whole numbers, as np.loadtxt reads them
    if labels.dtype.kind not in "iubUS" and not all(isinstance(label, str) for label in labels.tolist()):
        raise TypeError(f"groups has labels of type {labels.dtype}: give integers or strings")
    names, numbers = np.unique(labels, return_inverse=True)
    parsed = Labels(numbers.reshape(-1).tolist())
    parsed.names = tuple(map(str, names.tolist()))
    return parsed


def _from_index_lists(groups: list[Any], names: tuple[str, ...] | None = None) -> Labels:
    members = []
    for k, group in zip(range(len(groups)) if names is None else names, groups, strict=True):
        _refuse_masked(f"groups[{k}]", group)
        if not _is_list(group) or isinstance(group, Mapping):
            raise TypeError(f"groups[{k}]={group!r} must be a list of feature indices, as the other groups are")
        indices = np.asarray(group if hasattr(group, "ndim") else list(group))
        if indices.size == 0:
            raise ValueError(f"groups[{k}] is empty: every group needs a feature")
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise TypeError(f"groups[{k}]={group!r} must be a list of integer feature indices")
        members.append(indices)
    if not members:
        raise ValueError("groups is empty: give index lists that partition the features")
    if (least := min(int(m.min()) for m in members)) < 0:
        raise ValueError(f"groups holds the index {least}: indices count from 0")
    count = sum(len(m) for m in members)
    # An index from `count` on means that a smaller one is missing; counting up to it could take any memory.
    every = np.concatenate([np.minimum(m, count).astype(np.int64) for m in members])
    times = np.bincount(every, minlength=count)[:count]
    if times.max() > 1:
        raise ValueError(f"groups overlap: feature {np.argmax(times > 1)} is in more than one place; groups partition")
    if times.min() == 0:
        raise ValueError(f"groups miss feature {np.argmin(times)}: every feature needs a group (of one, if need be)")
    labels = np.empty(len(every), dtype=np.int64)
    labels[every] = np.repeat(np.arange(len(members)), [len(m) for m in members])
    parsed = _from_labels(labels)
    parsed.names = parsed.names if names is None else names
    return parsed


def parse_weights(weights: Any, names: tuple[str, ...] | None = None) -> str | tuple[float, ...] | None:
    """Return `weights` as "sqrt_size", None or a tuple of numbers >= 0; raises TypeError or ValueError else.

    A mapping has the groups' `names` as keys; where groups have none (blocks, an axis), their numbers 0 ... G-1.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        if weights != "sqrt_size":
            raise unknown_name("weights", weights, ["sqrt_size"])
        return weights
    if isinstance(weights, Mapping):
        given = dict(zip(_names("weights", weights), weights.values(), strict=True))
        names = tuple(map(str, range(len(given)))) if names is None else names
        if set(given) != set(names):
            wrong = sorted(set(given) ^ set(names))
            raise ValueError(
                f"weights has the keys {list(given)}, which differ from the groups' names in {wrong}: "
                "give one weight for each group"
            )
        return tuple(real(f"weights[{name!r}]", given[name], 0) for name in names)
    _refuse_masked("weights", weights)
    if isinstance(weights, (set, frozenset, bytes)) or not isinstance(weights, Iterable):
        raise TypeError(f"weights={weights!r} must be 'sqrt_size', None, or one number >= 0 for each group")
    values = weights.tolist() if hasattr(weights, "tolist") else weights
    if not isinstance(values, Iterable):
        raise ValueError("weights has no axis: give one number >= 0 for each group")
    return tuple(real(f"weights[{k}]", value, 0) for k, value in enumerate(values))


def parse_event_ndim(event_ndim: Any, axis: int | None) -> int | None:
    """Return the number of axes of a point; "auto": 1, or None (the whole array) where an axis is given."""
    if isinstance(event_ndim, str):
        if event_ndim != "auto":
            raise unknown_name("event_ndim", event_ndim, ["auto"])
        return 1 if axis is None else None
    return None if event_ndim is None else integer("event_ndim", event_ndim, 1)


def make_grouping(groups: int | tuple[int, ...] | None, axis: int | None, event_ndim: int | None) -> Grouping:
    """Return the grouping of parsed arguments; entries where neither `groups` nor `axis` is given."""
    if axis is not None:
        return Slices(axis, event_ndim)
    return Entries(event_ndim) if groups is None else Blocks(groups, event_ndim)


def check_groups(groups: int | tuple[int, ...] | None, axis: Any, weights: str | tuple[float, ...] | None) -> None:
    """Raise for both `groups` and `axis`, an `axis` that is no integer, or a wrong number of weights for labels."""
    if axis is not None:
        integer("axis", axis)
        if groups is not None:
            raise ValueError(f"groups and axis={axis} are both given: groups are for features, axis for tensors")
    if isinstance(weights, tuple) and isinstance(groups, tuple):
        check_weights(weights, max(groups) + 1)


def check_weights(weights: tuple[float, ...], count: int) -> None:
    """Raise ValueError unless there is one weight for each of `count` groups."""
    if len(weights) != count:
        raise ValueError(f"weights has {len(weights)} entries, but there are {count} groups: give one for each")


def group_weights(weights: str | tuple[float, ...] | None, grouping: Grouping, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weights of the groups of points of `shape`, (groups,) float64; raises where groups do not fit."""
    count, size = grouping.count(shape), grouping.size(shape)
    if isinstance(weights, tuple):
        check_weights(weights, count)
        return np.asarray(weights)
    return np.ones(count) if weights is None else np.sqrt(size) * np.ones(count)
