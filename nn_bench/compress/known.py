"""Which entries of a network's values are the same whatever its inputs: the constants that removal may rely on."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from manifold_id.optim.flow.flow import bound
from manifold_id.optim.flow.rules import is_entrywise, name_of
from manifold_id.optim.flow.sums import operands

# A mask says of each entry that it is known; these operations move entries, so they act on masks as on values.
MOVES = ("view", "reshape", "_unsafe_view", "permute", "transpose", "t", "expand", "repeat", "slice", "flip", "select",
         "split", "split_with_sizes", "chunk", "unbind", "cat", "stack", "squeeze", "unsqueeze", "constant_pad_nd",
         "index", "index_select", "reflection_pad1d", "reflection_pad2d", "replication_pad2d", "flatten")  # fmt: skip
# These mix entries with weights >= 0: what no unknown entry reaches is known.
MIXES = ("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "max_pool1d",
         "adaptive_avg_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
         "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d")  # fmt: skip
PRODUCTS = ("linear", "convolution", "mm", "bmm", "addmm", "baddbmm", "mv", "dot")
FILLED = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like",
          "arange", "scalar_tensor")  # fmt: skip


class Known(fx.Interpreter):
    """Runs the graph on the example; `visit(node, values, masks)` is called after each operation."""

    def __init__(self, graph: fx.GraphModule, visit: Callable[[fx.Node, dict[Any, Any], dict[Any, Any]], None]) -> None:
        super().__init__(graph)
        self.masks: dict[fx.Node, Any] = {}
        self.visit = visit

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation, and note which entries of its result are known."""
        out = super().run_node(n)
        if n.op == "get_attr" and isinstance(out, Tensor):
            self.masks[n] = torch.ones_like(out, dtype=torch.bool)
        elif n.op == "placeholder" and isinstance(out, Tensor):
            self.masks[n] = torch.zeros_like(out, dtype=torch.bool)
        elif n.target is operator.getitem and n.args[0] in self.masks:
            self.masks[n] = self.masks[n.args[0]][n.args[1]]  # type: ignore[index]
        elif n.op == "call_function" and isinstance(out, (Tensor, tuple, list)):
            self.masks[n] = self._safe_mask(n, out)
            self.visit(n, self.env, self.masks)
        for used in self.user_to_last_uses.get(n, []):
            self.masks.pop(used, None)
        return out

    def _safe_mask(self, n: fx.Node, out: Any) -> Any:
        """Return the mask of a result; nothing is known where a rule does not fit."""
        nothing = torch.utils._pytree.tree_map(lambda x: torch.zeros_like(x, dtype=torch.bool), out)
        random = torch.Tag.nondeterministic_seeded in getattr(n.target, "tags", ())
        if (random and name_of(n.target) not in _RULES) or "empty" in name_of(n.target):
            return nothing
        if is_entrywise(n.target) and any(x not in self.masks for x in n.all_input_nodes):
            return nothing  # with a number that may be the size of the batch
        try:
            mask = self._mask(n, out)
        except (RuntimeError, LookupError, TypeError, ValueError, NotImplementedError):
            return nothing
        if isinstance(out, Tensor):
            return mask if mask.shape == out.shape else nothing
        return mask if all(a.shape == b.shape for a, b in zip(mask, out, strict=True)) else nothing

    def _mask(self, n: fx.Node, out: Any) -> Any:
        name, given = name_of(n.target), bound(n, self.env)
        tensors = [x for x in torch.utils._pytree.tree_leaves(list(given.values())) if isinstance(x, fx.Node)]
        if all(bool(self.masks[x].all()) for x in tensors if isinstance(self.env[x], Tensor)) or name in FILLED:
            return torch.utils._pytree.tree_map(lambda x: torch.ones_like(x, dtype=torch.bool), out)
        if is_entrywise(n.target):
            return self._entrywise(name, tensors, out)
        if name in MOVES:
            return self._moved(name, n)
        if name in MIXES:
            unknown = self._run(n, {tensors[0]: (~self.masks[tensors[0]]).to(_float(self.env[tensors[0]]))})
            return [unknown[0] == 0, unknown[0] == 0] if isinstance(unknown, tuple) else unknown == 0
        if name in PRODUCTS:
            return self._product(n, given, out)
        rule = _RULES.get(name)
        if rule is not None:
            mask = rule(given, self.env, self.masks, out)
            return (
                mask if isinstance(out, Tensor) else [mask, *(torch.zeros_like(x, dtype=torch.bool) for x in out[1:])]
            )
        return torch.utils._pytree.tree_map(lambda x: torch.zeros_like(x, dtype=torch.bool), out)

    def _run(self, n: fx.Node, instead: dict[fx.Node, Any]) -> Any:
        def argument(x: fx.Node) -> Any:
            return instead.get(x, self.env[x])

        assert callable(n.target)
        return n.target(*fx.node.map_arg(n.args, argument), **fx.node.map_arg(n.kwargs, argument))

    def _entrywise(self, name: str, tensors: Sequence[fx.Node], out: Tensor) -> Tensor:
        known = torch.ones((), dtype=torch.bool, device=out.device)
        for x in tensors:
            known = known & self.masks[x]
        if name in ("mul", "mul_"):
            for x in tensors:
                known = known | (self.masks[x] & (self.env[x] == 0))
        return known.expand(out.shape)

    def _moved(self, name: str, n: fx.Node) -> Any:
        if name in ("cat", "stack"):
            return self._run(n, {x: self.masks[x] for x in n.all_input_nodes if x in self.masks})
        first = n.all_input_nodes[0]
        places = [self.masks[x] for x in n.all_input_nodes[1:] if x in self.masks]
        if name in ("index", "index_select") and not all(bool(mask.all()) for mask in places):
            return torch.zeros_like(self._run(n, {}), dtype=torch.bool)
        if name == "constant_pad_nd":
            return torch.nn.functional.pad(self.masks[first], list(bound(n, self.env)["pad"]), value=True)
        if name.startswith(("reflection", "replication")):
            return self._run(n, {first: self.masks[first].to(_float(self.env[first]))}) > 0
        return self._run(n, {first: self.masks[first]})

    def _product(self, n: fx.Node, given: dict[str, Any], out: Tensor) -> Tensor:
        """A sum of products is known where no term is unknown: a term with a known zero never is."""
        bias = given.get("bias", given.get("self") if name_of(n.target) in ("addmm", "baddbmm") else None)
        keys = ("input", "weight") if "weight" in given else operands(given)
        left, right = (given[key] for key in keys)
        kind = _float(self.env[left])
        unknown = [(~self.masks[x]).to(kind) for x in (left, right)]
        other = [(~(self.masks[x] & (self.env[x] == 0))).to(kind) for x in (left, right)]
        terms = torch.zeros_like(out, dtype=kind)
        for a, b, there in ((unknown[0], other[1], unknown[0]), (other[0], unknown[1], unknown[1])):
            if bool(there.any()):
                given_instead: dict[fx.Node, Any] = {left: a, right: b}
                if bias is not None:
                    given_instead[bias] = torch.zeros_like(self.env[bias], dtype=kind)
                terms = terms + self._run(n, given_instead)
        known = terms < 0.5
        if bias is not None:
            mask = self.masks[bias]
            known = known & (mask.reshape(-1, *(1,) * (out.ndim - 2)) if name_of(n.target) == "convolution" else mask)
        return known


def _float(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype == torch.float64 else torch.float32


def _unknown(node: fx.Node, masks: dict[Any, Any]) -> Tensor:
    mask: Tensor = ~masks[node]
    return mask


def _nonzero(node: fx.Node | None, env: dict[Any, Any], masks: dict[Any, Any]) -> Tensor | bool:
    return True if node is None else ~(masks[node] & (env[node] == 0))


def _reduce(given: dict[str, Any], env: Any, masks: Any, out: Any) -> Tensor:
    first = out if isinstance(out, Tensor) else out[0]
    unknown = _unknown(given["self"], masks)
    dims = given.get("dim")
    dims = list(range(unknown.ndim)) if dims is None or dims == [] else dims
    for d in sorted((d % unknown.ndim for d in (dims if isinstance(dims, (list, tuple)) else [dims])), reverse=True):
        unknown = unknown.any(dim=d, keepdim=bool(given.get("keepdim", False)))
    return ~unknown.expand(first.shape)


def _along(given: dict[str, Any], env: Any, masks: Any, out: Any) -> Tensor:
    unknown = _unknown(given["self"], masks)
    return ~unknown.any(dim=given["dim"], keepdim=True).expand(unknown.shape)


def _batch_norm(given: dict[str, Any], env: Any, masks: Any, out: Any) -> Tensor:
    unknown = _unknown(given["input"], masks)
    if given.get("running_mean") is None or given.get("training"):
        unknown = unknown.any(dim=[d for d in range(unknown.ndim) if d != 1], keepdim=True).expand(unknown.shape)
    return ~(unknown & _channels(_nonzero(given.get("weight"), env, masks), unknown))


def _channels(x: Tensor | bool, like: Tensor) -> Tensor | bool:
    return x if isinstance(x, bool) else x.reshape(-1, *(1,) * (like.ndim - 2))


def _layer_norm(given: dict[str, Any], env: Any, masks: Any, out: Any) -> Tensor:
    unknown = _unknown(given["input"], masks)
    dims = list(range(-len(given["normalized_shape"]), 0))
    whole = unknown.any(dim=dims, keepdim=True).expand(unknown.shape)
    return ~(whole & _nonzero(given.get("weight"), env, masks))


def _group_norm(given: dict[str, Any], env: Any, masks: Any, out: Any) -> Tensor:
    unknown = _unknown(given["input"], masks)
    groups = unknown.reshape(unknown.shape[0], given["num_groups"], -1)
    whole = groups.any(dim=2, keepdim=True).expand(groups.shape).reshape(unknown.shape)
    return ~(whole & _channels(_nonzero(given.get("weight"), env, masks), unknown))


def _attention(given: dict[str, Any], env: Any, masks: Any, out: Any) -> Tensor:
    zero = masks[given["value"]] & (env[given["value"]] == 0)
    return zero.all(dim=-2, keepdim=True).expand(out.shape)


def _embedding(given: dict[str, Any], env: Any, masks: Any, out: Any) -> Tensor:
    weight = env[given["weight"]]
    return ((weight == weight[:1]).all(dim=0) & masks[given["weight"]].all(dim=0)).expand(out.shape)


_RULES: dict[str, Callable[..., Tensor]] = {"layer_norm": _layer_norm, "group_norm": _group_norm}
_RULES |= dict.fromkeys(("_native_batch_norm_legit_no_training", "_native_batch_norm_legit"), _batch_norm)
_SUMS = ("sum", "mean", "amax", "amin", "var", "linalg_vector_norm", "prod", "any", "all", "logsumexp")
_RULES |= dict.fromkeys(_SUMS, _reduce)
_RULES |= dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum"), _along)
_RULES |= {"scaled_dot_product_attention": _attention, "embedding": _embedding}
