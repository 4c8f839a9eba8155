"""The tracker of an optimizer against the codes written down at every step."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from manifold_id.optim import RAMDA, RMDA, ProxAdamW, ProxSGD, StageSchedule, YangProxSGD, group_parameters
from manifold_id.optim.tracking import OptimizerTracker, _pack, _PackedLog
from manifold_id.regularizers import L1, Binary, Box, GroupLasso
from manifold_id.tracking import ManifoldTracker

torch.set_num_threads(1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)).double()


def codes(groups: list, point) -> np.ndarray:
    parts = [
        group["regularizer"].structure(point(p).detach()).reshape(-1).numpy()
        for group in groups
        if group["regularizer"] is not None
        for p in group["params"]
    ]
    return np.concatenate(parts)


def run(optimizer, model: nn.Module, steps: int, schedule=None, seed: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Take steps on random data; return the codes of parameters and proximal points after each."""
    generator = torch.Generator().manual_seed(seed)
    seen = []
    point = getattr(optimizer, "proximal_point", lambda p: p)
    for _ in range(steps):
        x = torch.randn(8, 6, generator=generator, dtype=torch.float64)
        y = torch.randint(4, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        seen.append((codes(optimizer.param_groups, lambda p: p), codes(optimizer.param_groups, point)))
        if schedule is not None:
            schedule.step()
    return seen


OPTIMIZERS = {
    "RMDA": lambda groups: RMDA(groups, lr=0.5, momentum=0.3),
    "RMDA c=1": lambda groups: RMDA(groups, lr=0.5),
    "RAMDA": lambda groups: RAMDA(groups, lr=0.05, momentum=0.5),
    "ProxSGD": lambda groups: ProxSGD(groups, lr=0.5, momentum=0.5),
    "ProxAdamW": lambda groups: ProxAdamW(groups, lr=0.02),
    "YangProxSGD": lambda groups: YangProxSGD(groups),
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("regularizer", [GroupLasso(0.03, axis=1), L1(0.01), Box(-0.2, 0.3)], ids=str)
@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_log_holds_the_codes_of_every_step(name, regularizer, block):
    if name in ("RAMDA", "ProxAdamW", "YangProxSGD") and isinstance(regularizer, GroupLasso) and block == 1:
        block = 2
    model = network()
    optimizer = OPTIMIZERS[name](group_parameters(model, regularizer, verbose=False))
    tracker = ManifoldTracker(optimizer, block=block)
    assert isinstance(tracker, OptimizerTracker)
    initial = codes(optimizer.param_groups, lambda p: p)
    seen = run(optimizer, model, 40)
    assert tracker.trace.steps == 40
    np.testing.assert_array_equal(tracker.trace.initial, initial)
    for t, (own, prox) in enumerate(seen, 1):
        np.testing.assert_array_equal(tracker.trace.structure_at(t), own)
        np.testing.assert_array_equal(tracker.prox_trace.structure_at(t), prox)
    if name != "SGD":
        assert len(tracker.prox_trace.step) > 5  # the test sees changes


def test_momentum_that_grows_to_one_in_a_hook_of_its_own_is_followed():
    model = network()
    optimizer = RMDA(group_parameters(model, GroupLasso(0.03, axis=1), verbose=False), lr=0.5, momentum=0.3)
    schedule = StageSchedule(optimizer, [5, 10], momentum="sqrt")
    tracker = ManifoldTracker(optimizer, block=4)
    seen = run(optimizer, model, 40, schedule)
    assert optimizer.param_groups[0]["momentum"] == 1
    for t, (own, prox) in enumerate(seen, 1):
        np.testing.assert_array_equal(tracker.trace.structure_at(t), own)
        np.testing.assert_array_equal(tracker.prox_trace.structure_at(t), prox)


def test_layers_names_and_shares():
    model = network()
    optimizer = RMDA(group_parameters(model, GroupLasso(0.05, axis=1), verbose=False), lr=0.5)
    tracker = ManifoldTracker(optimizer)
    run(optimizer, model, 30)
    assert [(e.name, e.start, e.stop) for e in tracker.layers] == [("0.weight", 0, 6), ("2.weight", 6, 15)]
    for layer in tracker.layers:
        zero = (layer.parameter == 0).all(dim=0)
        assert tracker.sparsity(layer.name) == pytest.approx(zero.double().mean().item())
    assert tracker.sparsity() > 0
    assert tracker.stabilized_at() == max(tracker.stabilized_at(e.name) for e in tracker.layers)
    final = tracker.reference({e.name: e.regularizer.structure(e.parameter.detach()) for e in tracker.layers})
    assert tracker.trace.settled_at(final) == tracker.stabilized_at()
    with pytest.raises(ValueError, match=r"did you mean '0\.weight'"):
        tracker.sparsity("0.weigth")
    with pytest.raises(ValueError, match=r"lack .2\.weight"):
        tracker.reference({"0.weight": np.ones(6, np.int8)})
    with pytest.raises(ValueError, match="has 9 atoms"):
        tracker.reference({"0.weight": np.ones(6), "2.weight": np.ones(6)})


def test_unnamed_parameters_are_called_by_their_place():
    p = nn.Parameter(torch.ones(3))
    tracker = ManifoldTracker(ProxSGD([nn.Parameter(torch.ones(2)), p], lr=0.1, regularizer=L1(0.1)))
    assert [layer.name for layer in tracker.layers] == ["0.0", "0.1"]


def test_a_state_goes_on_where_it_was():
    def start():
        model = network()
        optimizer = RMDA(group_parameters(model, GroupLasso(0.03, axis=1), verbose=False), lr=0.5, momentum=0.3)
        return model, optimizer, ManifoldTracker(optimizer, block=8)

    model, optimizer, whole = start()
    run(optimizer, model, 13)
    state, weights, inner = whole.state_dict(), model.state_dict(), optimizer.state_dict()
    state = {k: v if not isinstance(v, dict) else dict(v) for k, v in state.items()}
    again, second, rest = start()
    again.load_state_dict(weights)
    second.load_state_dict(inner)
    rest.load_state_dict(state)
    run(optimizer, model, 20, seed=2)
    run(second, again, 20, seed=2)
    for one, other in ((whole.trace, rest.trace), (whole.prox_trace, rest.prox_trace)):
        for name, values in one.to_arrays().items():
            np.testing.assert_array_equal(values, other.to_arrays()[name])
    small = ManifoldTracker(ProxSGD([nn.Parameter(torch.ones(99))], lr=0.1, regularizer=L1(0.1)))
    with pytest.raises(ValueError, match="other tensors"):
        small.load_state_dict(state)


def test_after_remove_nothing_is_recorded():
    model = network()
    optimizer = ProxSGD(group_parameters(model, L1(0.01), verbose=False), lr=0.1)
    tracker = ManifoldTracker(optimizer)
    run(optimizer, model, 3)
    tracker.remove()
    run(optimizer, model, 3)
    assert tracker.trace.steps == 3


def test_skipped_steps_of_a_gradient_scaler_are_none():
    p = nn.Parameter(torch.ones(4))
    optimizer = ProxSGD([p], lr=0.1, regularizer=L1(0.1))
    tracker = ManifoldTracker(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for scale in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale((p * scale).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert tracker.trace.steps == 2


def test_frozen_parameters_and_missing_gradients_keep_their_structure():
    used, unused = nn.Parameter(torch.full((3,), 0.5)), nn.Parameter(torch.zeros(2))
    optimizer = RMDA([{"params": [("used", used), ("unused", unused)]}], lr=0.1, momentum=0.5, regularizer=L1(9.0))
    tracker = ManifoldTracker(optimizer)
    used.grad = torch.zeros(3)
    optimizer.step()
    assert tracker.prox_trace.structure_at(1).tolist() == [0, 0, 0, 0, 0]
    assert tracker.trace.structure_at(1).tolist() == [1, 1, 1, 0, 0]


def test_both_kinks_of_the_binary_regularizer_are_told_apart():
    p = nn.Parameter(torch.tensor([1.0, 0.3, -1.0]))
    optimizer = ProxSGD([p], lr=0.1, regularizer=Binary(0.1))
    p.grad = torch.zeros(3)
    tracker = ManifoldTracker(optimizer)
    optimizer.step()
    np.testing.assert_array_equal(tracker.trace.structure_at(1), Binary(0.1).structure(p.detach()).numpy())


def test_bits_are_packed_in_the_order_of_numpy():
    bits = torch.rand(83, generator=torch.Generator().manual_seed(0)) < 0.5
    np.testing.assert_array_equal(_pack(bits).numpy(), np.packbits(bits.numpy()))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1), "no param group with a regularizer"),
        (lambda: ProxSGD([nn.Parameter(torch.ones(2))], lr=0.1), "no param group with a regularizer"),
    ],
)
def test_an_optimizer_without_structure_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        ManifoldTracker(source())


def test_other_sources_are_refused():
    with pytest.raises(TypeError, match="must be a Regularizer"):
        ManifoldTracker(3)
    with pytest.raises(ValueError, match="block=0"):
        ManifoldTracker(ProxSGD([nn.Parameter(torch.ones(2))], lr=0.1, regularizer=L1(0.1)), block=0)


@pytest.mark.slow
def test_tracking_costs_at_most_a_twentieth_of_a_lenet_step():
    from nn_bench.models import build_model

    torch.manual_seed(0)
    model = build_model("lenet5", (1, 28, 28), 10)
    optimizer = RMDA(group_parameters(model, GroupLasso(1e-3, axis=1), verbose=False), lr=0.1, momentum=0.1)
    x, y = torch.randn(128, 1, 28, 28), torch.randint(10, (128,))
    tracker = ManifoldTracker(optimizer)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    def seconds(function) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    step()
    tracker.remove()
    tracker._prepare(optimizer, (), {})
    # in turns, so that other work on the machine meets both alike
    pairs = [(seconds(lambda: tracker._record(optimizer, (), {})), seconds(step)) for _ in range(30)]
    alone, bare = np.median(pairs, axis=0)
    assert alone <= 0.05 * bare


def test_a_log_takes_seven_bytes_a_change_and_counts_beyond_31_bits():
    log = _PackedLog(np.zeros(2, np.uint8), 16, False)
    log.add(2**31 - 1, np.array([[128, 0], [0, 1]], np.uint8))
    state = log.state()
    assert [state[name].element_size() for name in ("step", "atom", "new")] == [8, 2, 1]
    again = _PackedLog.restore(state, 16, False)
    again.add(2**31 + 1, np.array([[0, 0]], np.uint8))
    trace = again.trace(2**31 + 1)
    assert trace.step.tolist() == [2**31 - 1, 2**31, 2**31, 2**31 + 1]
    assert trace.atom.tolist() == [0, 0, 15, 15] and trace.new.tolist() == [1, 0, 1, 0]
    assert _PackedLog(np.zeros(2, np.uint8), 16, False).state()["step"].element_size() == 4
    assert _PackedLog(np.zeros(5000, np.uint8), 40_000, False).state()["atom"].element_size() == 4
