"""Random networks with zero units, and the sizes that are left when all of those that can go are gone."""

from __future__ import annotations

import random

import torch
from torch import nn
from torch.nn import functional as F

# activation -> its value at 0
ACTIVATIONS = {
    "relu": (F.relu, 0.0), "leaky": (F.leaky_relu, 0.0), "tanh": (torch.tanh, 0.0), "sigmoid": (torch.sigmoid, 0.5),
    "silu": (nn.SiLU(), 0.0), "gelu": (F.gelu, 0.0), "softplus": (nn.Softplus(), 0.69), "elu": (nn.ELU(), 0.0),
    "hardswish": (F.hardswish, 0.0), "prelu": (None, 0.0), "relu6": (nn.ReLU6(), 0.0),
}  # fmt: skip


class Block(nn.Module):
    """A block says in `expected` which axis of which of its weights has which size in the end."""

    def __init__(self, rng: random.Random, name: str | None = None) -> None:
        super().__init__()
        self.rng, self.expected = rng, {}
        name = name or rng.choice(list(ACTIVATIONS))
        self.act, self.at_zero = ACTIVATIONS[name]
        if name == "prelu":
            self.act = nn.PReLU()

    def registered(self, **layers: nn.Module) -> None:
        """Register the layers in a random order."""
        names = list(layers)
        self.rng.shuffle(names)
        for name in names:
            setattr(self, name, layers[name])

    @torch.no_grad()
    def off(self, count: int, *parts: nn.Module | None) -> list[int]:
        """Zero some rows of all parameters of the parts; return them."""
        gone = self.rng.sample(range(count), self.rng.randint(1, count // 2))
        for part in parts:
            for p in [] if part is None else part.parameters(recurse=False):
                p[gone] = 0
        return gone

    def left(self, whole: int, gone: list[int], goes: bool, *names: str, axis: int = 0) -> int:
        """Expect the sizes of the weights along an axis."""
        size = whole - len(gone) if goes else whole
        for name in names:
            self.expected[name, axis] = size
        return size


class Dense(Block):
    """linear - norm - activation - linear, with a skip connection."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng)
        hidden, bias = rng.randint(4, 9), rng.random() < 0.7
        norm = rng.choice([nn.BatchNorm1d(hidden), nn.BatchNorm1d(hidden, affine=False), None, None])
        self.registered(b=nn.Linear(hidden, width, bias=bias), norm=norm or nn.Identity(), a=nn.Linear(width, hidden))
        goes = self.at_zero == 0 or bias
        if isinstance(norm, nn.BatchNorm1d):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
            if not norm.affine:  # zero is a constant after it, here a positive one
                norm.running_mean.uniform_(-1, -0.5)
                goes = bias
        gone = self.off(hidden, self.a, norm)
        self.left(hidden, gone, goes, "a.weight")
        self.left(hidden, gone, goes, "b.weight", axis=1)

    def forward(self, x):
        return x + self.b(self.act(self.norm(self.a(x))))


class Conv(Block):
    """conv - norm - activation - conv, of 1, 2 or 3 dimensions, perhaps transposed, with a skip connection."""

    def __init__(self, rng: random.Random, width: int, k: int) -> None:
        super().__init__(rng)
        hidden, pad = rng.choice([4, 6, 8]), rng.randint(0, 1)
        kinds = {1: (nn.Conv1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.ConvTranspose1d)}
        kinds[2] = (nn.Conv2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.ConvTranspose2d)
        kinds[3] = (nn.Conv3d, nn.BatchNorm3d, nn.InstanceNorm3d, nn.ConvTranspose3d)
        conv, batch, instance, transposed = kinds[k]
        bias = rng.random() < 0.5
        norm = rng.choice([batch(hidden), None, instance(hidden, affine=True), nn.GroupNorm(hidden, hidden)])
        up = rng.random() < 0.3
        first = (transposed if up else conv)(width, hidden, 3, padding=1, bias=bias)
        self.registered(b=conv(hidden, width, 2 * pad + 1, padding=pad), norm=norm or nn.Identity(), a=first)
        gone = rng.sample(range(hidden), rng.randint(1, hidden // 2))
        with torch.no_grad():
            first.weight.movedim(int(up), 0)[gone] = 0
            for p in [first.bias, *(norm.parameters() if norm else [])]:
                if p is not None:
                    p[gone] = 0
        goes = self.at_zero == 0 or pad == 0
        self.left(hidden, gone, goes, "a.weight", axis=int(up))
        self.left(hidden, gone, goes, "b.weight", axis=1)

    def forward(self, x):
        return x + self.b(self.act(self.norm(self.a(x))))


class Depthwise(Block):
    """1 x 1 - depthwise - 1 x 1."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng, "relu")
        hidden = rng.choice([4, 6, 8])
        norm = rng.choice([nn.BatchNorm2d(hidden), None])
        depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        layers = {"c": nn.Conv2d(hidden, width, 1), "norm": norm or nn.Identity(), "a": nn.Conv2d(width, hidden, 1)}
        self.registered(b=depthwise, **layers)
        gone = self.off(hidden, self.a, norm)
        self.left(hidden, gone, True, "a.weight", "b.weight")
        self.left(hidden, gone, True, "c.weight", axis=1)

    def forward(self, x):
        return x + self.c(F.relu(self.b(self.act(self.norm(self.a(x))))))


class Grouped(Block):
    """A grouped convolution whose blocks go whole, between channels of a group norm."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng, "tanh")
        self.registered(c=nn.Conv2d(8, width, 3, padding=1), b=nn.Conv2d(8, 8, 3, padding=1, groups=4),
                        norm=nn.GroupNorm(4, 8), a=nn.Conv2d(width, 8, 1))  # fmt: skip
        gone = rng.sample(range(4), rng.randint(1, 2))
        with torch.no_grad():
            for layer in (self.a, self.b, self.norm):
                for p in layer.parameters():
                    p.view(4, 2, *p.shape[1:])[gone] = 0
        self.left(8, gone * 2, True, "a.weight", "b.weight", "norm.weight")
        self.left(8, gone * 2, True, "c.weight", axis=1)

    def forward(self, x):
        return x + self.c(self.act(self.b(self.norm(self.a(x)))))


class Concat(Block):
    """Two branches side by side."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng)
        n, m = rng.randint(3, 6), rng.randint(3, 6)
        self.registered(c=nn.Conv2d(n + m, width, 1), norm=nn.BatchNorm2d(n + m), b=nn.Conv2d(width, m, 3, padding=1),
                        a=nn.Conv2d(width, n, 1))  # fmt: skip
        one, two = self.off(n, self.a), self.off(m, self.b)
        with torch.no_grad():
            for p in self.norm.parameters():
                p[[*one, *(n + i for i in two)]] = 0
        self.left(n, one, True, "a.weight")
        self.left(m, two, True, "b.weight")
        self.left(n + m, [*one, *two], True, "c.weight", axis=1)

    def forward(self, x):
        return x + self.c(self.act(self.norm(torch.cat([self.a(x), self.b(x)], dim=1))))


class Attention(Block):
    """Heads by hand, with the sizes written into forward."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng)
        self.heads, self.size, self.packed = rng.randint(2, 4), rng.randint(2, 4), rng.random() < 0.5
        inner = self.heads * self.size
        norm = nn.LayerNorm(width) if rng.random() < 0.5 else nn.Identity()
        layers = {"out": nn.Linear(inner, width), "norm": norm}
        parts = {"qkv": 3 * inner} if self.packed else {"q": inner, "k": inner, "v": inner}
        layers |= {name: nn.Linear(width, n) for name, n in parts.items()}
        self.registered(**layers)
        gone = rng.sample(range(self.heads), rng.randint(1, self.heads // 2))
        with torch.no_grad():
            for name, n in parts.items():
                for p in layers[name].parameters():
                    p.view(n // inner, self.heads, self.size, *p.shape[1:])[:, gone] = 0
        for name, n in parts.items():
            self.left(n, gone * self.size * (n // inner), True, f"{name}.weight")
        self.left(inner, gone * self.size, True, "out.weight", axis=1)

    def forward(self, x):
        b, t, _ = x.shape
        h = self.norm(x)
        if self.packed:
            q, k, v = self.qkv(h).reshape(b, t, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        else:
            q, k, v = (f(h).view(b, t, self.heads, self.size).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-2, -1) / self.size**0.5, dim=-1)
        return x + self.out((weights @ v).transpose(1, 2).reshape(b, t, self.heads * self.size))


class Torch(Block):
    """torch's own attention."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng)
        heads = rng.choice([2, 4])
        self.registered(att=nn.MultiheadAttention(width, heads, batch_first=True))
        gone = rng.sample(range(heads), heads // 2)
        size = width // heads
        with torch.no_grad():
            for p in (self.att.in_proj_weight, self.att.in_proj_bias):
                p.view(3, heads, size, *p.shape[1:])[:, gone] = 0
        self.left(3 * width, gone * 3 * size, True, "att.in_proj_weight")
        self.left(width, gone * size, True, "att.out_proj.weight", axis=1)

    def forward(self, x):
        return x + self.att(x, x, x, need_weights=False)[0]


class Recurrent(Block):
    """LSTM or GRU, perhaps in both directions."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng)
        kind, gates = rng.choice([(nn.LSTM, 4), (nn.GRU, 3)])
        hidden, both = rng.randint(3, 6), rng.random() < 0.3
        self.registered(
            out=nn.Linear(hidden * (1 + both), width), rnn=kind(width, hidden, batch_first=True, bidirectional=both)
        )
        gone = rng.sample(range(hidden), rng.randint(1, hidden // 2))
        with torch.no_grad():
            for p in self.rnn.parameters():
                p.view(gates, hidden, *p.shape[1:])[:, gone] = 0
        self.left(gates * hidden, gone * gates, True, "rnn.weight_ih_l0", "rnn.weight_hh_l0")
        self.left(hidden, gone, True, "rnn.weight_hh_l0", axis=1)
        self.left(hidden * (1 + both), gone * (1 + both), True, "out.weight", axis=1)

    def forward(self, x):
        return x + self.out(self.rnn(x)[0])


class Ignored(Block):
    """A unit that nothing reads, in a layer with weight normalization."""

    def __init__(self, rng: random.Random, width: int) -> None:
        super().__init__(rng)
        hidden = rng.randint(4, 8)
        layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(width, hidden))
        self.registered(b=nn.Linear(hidden, width), a=layer)
        gone = rng.sample(range(hidden), rng.randint(1, 3))
        with torch.no_grad():
            self.b.weight[:, gone] = 0
        self.left(hidden, gone, True, "a.weight")
        self.left(hidden, gone, True, "b.weight", axis=1)

    def forward(self, x):
        return x + self.b(self.act(self.a(x)))


class Net(nn.Module):
    """stem - blocks that add to a residual stream - head, registered in a random order."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        self.kind, width = rng.choice(["vector", "image", "volume", "signal", "words"]), 8
        dims = {"image": 2, "volume": 3, "signal": 1}.get(self.kind)
        spatial = [lambda: Conv(rng, width, dims)]
        if dims == 2:
            spatial += [lambda: Depthwise(rng, width), lambda: Grouped(rng, width), lambda: Concat(rng, width)]
        flat = [lambda: Dense(rng, width), lambda: Ignored(rng, width)]
        sequence = [lambda: Attention(rng, width), lambda: Torch(rng, width), lambda: Recurrent(rng, width), flat[1]]
        choices = {"vector": flat, "words": sequence}.get(self.kind, spatial)
        self.order = [f"block{i}" for i in range(rng.randint(1, 3))]
        layers = {name: rng.choice(choices)() for name in self.order}
        if dims is not None:
            convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
            layers["stem"] = convolution(2, width, 3)
        else:
            layers["stem"] = nn.Embedding(11, width) if self.kind == "words" else nn.Linear(5, width)
        self.flatten = dims == 2 and rng.random() < 0.5
        layers["head"] = nn.Linear(width * 16 if self.flatten else width, 3)
        self.expected = {
            (f"{name}.{leaf}", axis): n for name in self.order for (leaf, axis), n in layers[name].expected.items()
        }
        if rng.random() < 0.5 and not any(isinstance(m, nn.LayerNorm) for m in layers.values()):
            self._stream(rng, layers, width)
        names = list(layers)
        rng.shuffle(names)
        for name in names:
            setattr(self, name, layers[name])
        shapes = {"vector": (3, 5), "image": (2, 2, 6, 6), "volume": (2, 2, 5, 5, 5), "signal": (2, 2, 9)}
        self.example = torch.randint(0, 11, (2, 5)) if self.kind == "words" else torch.randn(shapes[self.kind])

    @torch.no_grad()
    def _stream(self, rng: random.Random, layers: dict[str, nn.Module], width: int) -> None:
        """Zero channels of the stream in all that adds to it, where no layer normalizes over them."""
        if any(isinstance(m, nn.LayerNorm) for layer in layers.values() for m in layer.modules()):
            return
        gone = rng.sample(range(width), 2)
        stem = layers["stem"]
        (stem.weight.T if isinstance(stem, nn.Embedding) else stem.weight)[gone] = 0
        if not isinstance(stem, nn.Embedding):
            stem.bias[gone] = 0
        for name in self.order:
            last = next(getattr(layers[name], leaf) for leaf in ("c", "out", "b", "att") if hasattr(layers[name], leaf))
            last = last.out_proj if isinstance(last, nn.MultiheadAttention) else last
            last.weight[gone] = 0
            if last.bias is not None:
                last.bias[gone] = 0
        self.expected["stem.weight", int(isinstance(stem, nn.Embedding))] = width - 2
        self.expected["head.weight", 1] = (width - 2) * (16 if self.flatten else 1)

    def forward(self, x):
        x = self.stem(x)
        for name in self.order:
            x = getattr(self, name)(x)
        if self.flatten:
            return self.head(x.view(-1, 8 * 16))
        while x.ndim > 2:
            x = x.mean(dim=1 if self.kind == "words" else -1)
        return self.head(x)


def check_sizes(model: Net, small: nn.Module) -> None:
    """Assert that all zero units that can go are gone, and no others."""
    parameters = dict(small.named_parameters())
    for (name, axis), size in model.expected.items():
        if name not in parameters:  # with weight normalization
            name = "{0}.parametrizations.{2}.original1".format(*name.rpartition("."))
        assert parameters[name].shape[axis] == size, (name, axis, size)
