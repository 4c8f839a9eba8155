"""Traces against a dense replay of every step, and the tracker against the structures that it saw."""

import io
import math
import tracemalloc

import numpy as np
import pytest

from manifold_id import change_log
from manifold_id.regularizers import L1, GroupLasso
from manifold_id.trace_file import pack, unpack
from manifold_id.tracking import ManifoldTracker, Trace


def random_log(seed):
    """Arguments of a Trace with redundant, repeated and simultaneous changes; codes -1, 0, 1 for odd seeds."""
    rng = np.random.default_rng(seed)
    atoms, steps = int(rng.integers(1, 6)), int(rng.integers(1, 40))
    changes = int(rng.integers(0, 60))
    codes = (-1, 0, 1) if seed % 2 else (0, 1)
    step = np.sort(rng.integers(1, steps + 1, changes))
    if changes and seed % 3 == 0:
        step[-1] = steps  # a change at the last step
    atom = rng.integers(0, atoms, changes)
    initial, new = rng.choice(codes, atoms), rng.choice(codes, changes)
    reference = rng.choice(codes, atoms)
    if seed % 5 < 2:  # a run that settles: the tail says what the reference says
        last = int(rng.integers(1, steps + 1))
        step, atom, new = step[step < last], atom[step < last], new[step < last]
        step, atom = np.append(step, np.full(atoms, last)), np.append(atom, np.arange(atoms))
        new = np.append(new, reference)
    return initial, step, atom, new, steps, reference


def replay(initial, step, atom, new, steps):
    """The structure at every step, (steps + 1, atoms), one change after the other."""
    codes, table = np.array(initial), []
    for t in range(steps + 1):
        for s, a, n in zip(step, atom, new, strict=True):
            if s == t:
                codes[a] = n
        table.append(codes.copy())
    return np.array(table)


def last(flags):
    return int(np.flatnonzero(flags)[-1]) if flags.any() else None


@pytest.mark.parametrize("seed", range(80))
def test_every_answer_is_the_dense_replays(seed):
    *log, reference = random_log(seed)
    steps = log[-1]
    trace, table = Trace(*log), replay(*log)
    every = np.arange(steps + 1)
    wrong = (table != reference).any(axis=1)
    on, target = table > 0, reference > 0

    np.testing.assert_array_equal([trace.structure_at(t) for t in every], table)
    np.testing.assert_array_equal(trace.active_count(every), on.sum(axis=1))
    moved = table[1:] != table[:-1]
    assert len(trace.step) == moved.sum()
    np.testing.assert_array_equal(trace.step, np.nonzero(moved)[0] + 1)
    np.testing.assert_array_equal(trace.old, table[trace.step - 1, trace.atom])
    np.testing.assert_array_equal(trace.new, table[trace.step, trace.atom])
    assert trace.last_change == (last(moved.any(axis=1)) + 1 if moved.any() else 0)

    settled = 0 if not wrong.any() else (None if wrong[-1] else last(wrong) + 1)
    assert trace.settled_at(reference) == settled
    for share in (0.0, 0.25, 0.5, 1.0):
        kept = settled is not None and settled <= steps * (1 - share)
        assert trace.identified_at(reference, share) == (settled if kept else None)
    assert trace.last_false_positive(reference) == last((on & ~target).any(axis=1))
    assert trace.last_false_negative(reference) == last((~on & target).any(axis=1))
    assert trace.off_steps(reference) == wrong.sum()
    start, stop = trace.off_intervals(reference)
    inside = [np.arange(a, b) for a, b in zip(start, stop, strict=True)]
    np.testing.assert_array_equal(np.flatnonzero(wrong), np.concatenate(inside or [[]]))
    assert (start[1:] > stop[:-1]).all()

    for a, b in {(0, steps), (steps // 2, steps), (steps // 3, steps // 3 + 1)}:
        assert trace.wrong_share(reference, a, b) == pytest.approx(wrong[a + 1 : b + 1].mean(), abs=1e-15)
        assert trace.flicker_rate(a, b) == pytest.approx(moved[a:b].sum() / (b - a), abs=1e-15)
        assert trace.moving_share(a, b) == pytest.approx(moved[a:b].any(axis=0).mean(), abs=1e-15)
        assert trace.exits(reference, a, b) == (wrong[a + 1 : b + 1] & ~wrong[a:b]).sum()

    precision, recall = trace.precision_recall(reference, every)
    hits = (on & target).sum(axis=1)
    np.testing.assert_allclose(precision, [h / n if n else 1 for h, n in zip(hits, on.sum(axis=1), strict=True)])
    np.testing.assert_allclose(recall, hits / target.sum() if target.any() else np.ones(steps + 1))


@pytest.mark.parametrize("seed", range(0, 80, 7))
def test_files_are_lossless(seed, tmp_path):
    *log, _ = random_log(seed)
    trace = Trace(*log)
    path = tmp_path / "run.trace.npz"
    trace.save(path)
    again = Trace.load(path)
    assert again.steps == trace.steps
    for name in ("initial", "step", "atom", "new", "old"):
        one, two = getattr(trace, name), getattr(again, name)
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("atoms, steps, gap", [(70_000, 10**9, 10**6), (300, 10**7, 3), (2, 2**40, 2**33)])
def test_files_hold_wide_numbers(atoms, steps, gap, tmp_path):
    rng = np.random.default_rng(atoms)
    step = np.cumsum(rng.integers(1, gap, 100))
    atom = rng.permutation(np.resize(np.arange(atoms), 100))
    trace = Trace(np.zeros(atoms, int), step, atom, np.ones(100, int), steps)
    trace.save(tmp_path / "t.npz")
    again = Trace.load(tmp_path / "t.npz")
    assert again.steps == steps
    np.testing.assert_array_equal(again.step, trace.step)
    np.testing.assert_array_equal(again.atom, trace.atom)


def flickering(changes, atoms=100, seed=0):
    """A long log in which atoms go on and off at random."""
    rng = np.random.default_rng(seed)
    atom = rng.integers(0, atoms, changes)
    step = np.cumsum(rng.integers(1, 4, changes))
    order = np.argsort(atom, kind="stable")
    rank = np.empty(changes, int)
    starts = np.searchsorted(atom[order], np.arange(atoms))
    rank[order] = np.arange(changes) - starts[atom[order]]
    return Trace(np.zeros(atoms, np.int8), step, atom, 1 - rank % 2, int(step[-1]))


def test_files_are_small(tmp_path):
    trace = flickering(200_000)
    assert len(trace.step) == 200_000
    trace.save(tmp_path / "t.npz")
    # the entropy is 1.6 bits for the gap, 6.6 for the atom, 1 for the code (knowing nothing of the past): 1.16 bytes
    assert (tmp_path / "t.npz").stat().st_size / len(trace.step) < 1.4


@pytest.mark.parametrize("damage", [lambda x: x[: len(x) // 2], lambda x: b"", lambda x: b"PK" + x[60:]])
def test_damaged_files_are_refused(damage, tmp_path):
    path = tmp_path / "t.npz"
    flickering(1000).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="holds no whole trace"):
        Trace.load(path)
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / "other.npz")


def test_a_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    flickering(1000).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="holds no whole trace"):
        Trace.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    flickering(10).save(path)
    before = path.read_bytes()

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array", full)
    with pytest.raises(OSError, match="No space"):
        flickering(20).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_run_without_changes():
    trace = Trace([1, 0], [], [], [], 10)
    assert trace.last_change == 0
    assert trace.identified_at([1, 0], 1.0) == 0
    assert trace.identified_at([1, 1]) is None
    assert trace.last_false_positive([1, 0]) is None
    assert trace.last_false_positive([0, 0]) == 10
    assert trace.last_false_negative([1, 1]) == 10
    assert trace.flicker_rate() == trace.moving_share() == 0.0
    assert trace.off_steps([0, 0]) == 11


def test_a_run_without_atoms(tmp_path):
    trace = Trace([], [], [], [], 5)
    assert trace.identified_at([]) == 0
    np.testing.assert_array_equal(trace.active_count([0, 5]), [0, 0])
    trace.save(tmp_path / "t.npz")
    assert Trace.load(tmp_path / "t.npz").atoms == 0


def test_a_run_of_no_step():
    trace = Trace([1], [], [], [], 0)
    assert trace.identified_at([1]) == 0
    assert trace.identified_at([0]) is None
    with pytest.raises(ValueError, match="enclose no step"):
        trace.flicker_rate()


def test_a_change_at_the_last_step_is_no_identification():
    trace = Trace([0], [10], [0], [1], 10)
    assert trace.settled_at([1]) == 10
    assert trace.identified_at([1]) is None
    assert trace.identified_at([1], persistence=0.0) == 10
    assert trace.last_false_negative([1]) == 9
    assert trace.last_false_positive([0]) == 10
    assert trace.exits([0]) == 1


def test_the_last_of_two_changes_in_one_step_counts():
    trace = Trace([0, 0], [3, 3, 3, 4], [0, 1, 0, 0], [1, 1, 0, 1], 5)
    np.testing.assert_array_equal(trace.step, [3, 4])
    np.testing.assert_array_equal(trace.atom, [1, 0])
    np.testing.assert_array_equal(trace.old, [0, 0])


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"step": [2, 1]}, ValueError, "sorted"),
        ({"step": [0, 1]}, ValueError, "1 .. steps=5"),
        ({"step": [1, 6]}, ValueError, "1 .. steps=5"),
        ({"step": [1]}, ValueError, "1, 2 and 2 entries"),
        ({"atom": [0, 2]}, ValueError, "0 .. 1"),
        ({"atom": [0, -1]}, ValueError, "0 .. 1"),
        ({"new": [1, 200]}, ValueError, "-128 .. 127"),
        ({"new": [0.5, 1.0]}, TypeError, "integers"),
        ({"initial": [[0, 0]]}, ValueError, "one axis"),
        ({"steps": -1}, ValueError, "at least 0"),
        ({"steps": 5.0}, TypeError, "integer"),
    ],
)
def test_bad_logs_are_refused(change, error, words):
    good = {"initial": [0, 0], "step": [1, 2], "atom": [0, 1], "new": [1, 1], "steps": 5}
    with pytest.raises(error, match=words):
        Trace(**(good | change))


def test_bad_questions_are_refused():
    trace = Trace([0, 0], [1], [0], [1], 5)
    with pytest.raises(ValueError, match="reference has 3 codes"):
        trace.identified_at([0, 0, 1])
    with pytest.raises(ValueError, match="persistence"):
        trace.identified_at([0, 0], persistence=1.5)
    with pytest.raises(ValueError, match="at most 5"):
        trace.structure_at(6)
    with pytest.raises(ValueError, match=r"0 \.\. 5"):
        trace.active_count([6])
    with pytest.raises(ValueError, match="enclose no step"):
        trace.wrong_share([0, 0], 3, 3)
    with pytest.raises(ValueError, match="read-only"):
        trace.step[0] = 2


@pytest.mark.parametrize("seed", range(6))
def test_blocks_make_the_whole(seed):
    *log, reference = random_log(seed)
    whole = Trace(*log)
    cut = whole.steps // 2
    early = whole.step <= cut
    one = Trace(whole.initial, whole.step[early], whole.atom[early], whole.new[early], cut)
    late = ~early
    middle = one.structure_at(cut)
    two = Trace(middle, whole.step[late] - cut, whole.atom[late], whole.new[late], whole.steps - cut)
    joined = Trace.concatenate([one, two])
    assert joined.steps == whole.steps
    assert joined.settled_at(reference) == whole.settled_at(reference)
    for name in ("initial", "step", "atom", "new", "old"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    other = Trace(1 - np.clip(middle, 0, 1), [], [], [], 3)
    with pytest.raises(ValueError, match="does not start"):
        Trace.concatenate([one, other])
    with pytest.raises(ValueError, match="empty"):
        Trace.concatenate([])


# --- the tracker -----------------------------------------------------------------------------------------------------


def points(seed, steps=60, size=6):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((steps + 1, size)) * (rng.random((steps + 1, size)) < 0.4)


@pytest.mark.parametrize("regularizer", [L1(0.1), GroupLasso(0.1, groups=2)], ids=["entries", "groups"])
def test_tracker_records_every_step(regularizer):
    w, z = points(0), points(1)
    tracker = ManifoldTracker(regularizer)
    for t in range(len(w)):
        tracker.update(t, w[t], z[t])
    for t in range(len(w)):
        np.testing.assert_array_equal(tracker.trace.structure_at(t), regularizer.structure(w[t]))
        np.testing.assert_array_equal(tracker.prox_trace.structure_at(t), regularizer.structure(z[t]))
    assert tracker.trace.steps == tracker.prox_trace.steps == len(w) - 1


def test_tracker_can_be_read_while_it_records():
    w, tracker = points(2), ManifoldTracker(L1(0.1))
    for t in range(len(w)):
        tracker.update(t, w[t])
        np.testing.assert_array_equal(tracker.trace.structure_at(t), w[t] != 0)
        assert tracker.trace.steps == t


def test_one_trace_where_the_points_do_not_differ():
    w, tracker = points(3), ManifoldTracker(L1(0.1))
    for t, point in enumerate(w[:20]):
        tracker.update(t, point, point.copy() if t > 10 and t % 2 else point)
    assert tracker.prox_trace is tracker.trace
    tracker.update(20, w[20], np.zeros(6))
    tracker.update(21, w[21])
    assert tracker.prox_trace is not tracker.trace
    expected = [*w[:20], np.zeros(6), w[21]]
    for t, point in enumerate(expected):
        np.testing.assert_array_equal(tracker.prox_trace.structure_at(t), point != 0)


def test_tracker_takes_what_it_is_told():
    """Memory that the loop overwrites, a start after step 0, and steps left out."""
    tracker, w = ManifoldTracker(L1(0.1)), np.zeros(3)
    for t, entry in ((2, 0), (5, 1)):
        w[entry] = 1.0
        tracker.update(t, w)
    table = [tracker.trace.structure_at(t).tolist() for t in range(6)]
    assert table == [[1, 0, 0]] * 5 + [[1, 1, 0]]


def test_tracker_refuses_what_is_no_run():
    tracker = ManifoldTracker(L1(0.1))
    with pytest.raises(ValueError, match="nothing is recorded"):
        _ = tracker.trace
    with pytest.raises(TypeError, match="must be a Regularizer"):
        ManifoldTracker(L1)
    with pytest.raises(ValueError, match="1 batch axes"):
        tracker.update(0, np.zeros((2, 3)))
    tracker.update(0, np.zeros(3))
    with pytest.raises(ValueError, match="t must grow"):
        tracker.update(0, np.zeros(3))
    with pytest.raises(ValueError, match="its shape must not change"):
        tracker.update(1, np.zeros(4))


def test_tracker_takes_torch_tensors():
    torch = pytest.importorskip("torch")
    tracker = ManifoldTracker(L1(0.1))
    for t, point in enumerate(points(4)):
        tracker.update(t, torch.tensor(point, requires_grad=True))
    np.testing.assert_array_equal(tracker.trace.structure_at(30), points(4)[30] != 0)
    assert tracker.trace.settled_at(torch.tensor(points(4)[-1] != 0).to(torch.int8)) is not None


def test_memory_grows_with_the_changes():
    trace = Trace(np.zeros(10**4, np.int8), [1, 10**12], [5, 5], [1, 0], 10**12)
    assert trace.off_steps(np.zeros(10**4, int)) == 10**12 - 1
    assert math.isclose(trace.flicker_rate(), 2e-12)


def test_a_long_log_is_read_in_blocks(monkeypatch):
    """The same trace whatever the size of the blocks, entries overwritten within a step among them."""
    rng = np.random.default_rng(0)
    step = np.sort(rng.integers(1, 300, 2000))
    arrays = {"step": step, "atom": rng.integers(0, 7, 2000), "new": rng.integers(-1, 3, 2000)}
    initial = rng.integers(0, 2, 7)
    whole = Trace(initial=initial, steps=300, **arrays)
    monkeypatch.setattr(change_log, "BLOCK", 64)
    blocks = Trace(initial=initial, steps=300, **arrays)
    for name in ("step", "atom", "new", "old"):
        np.testing.assert_array_equal(getattr(blocks, name), getattr(whole, name))
    assert len(whole.step) < 2000

    def answers():
        reference, every = np.arange(7) % 2, np.arange(301)
        counts = whole.active_count(every), *whole.off_intervals(reference), *whole.precision_recall(reference, every)
        file = pack(whole.to_arrays())
        return *counts, *unpack(io.BytesIO(file), "file").values(), np.frombuffer(file, np.uint8)

    in_blocks = answers()
    monkeypatch.undo()
    for one, two in zip(in_blocks, answers(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_no_answer_needs_as_much_memory_as_the_log(monkeypatch):
    monkeypatch.setattr(change_log, "BLOCK", 1 << 12)
    count = 400_000
    atom = np.arange(count) % 100
    step, new = np.arange(count) // 100 + 1, (np.arange(count) // 100 + 1) % 2  # every atom changes at every step
    reference = np.ones(100, int)
    tracemalloc.start()
    try:
        trace = Trace(np.zeros(100, int), step, atom.astype(np.int32), new.astype(np.int8), step[-1])
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        assert trace.settled_at(reference) is None and trace.active_count(step[-1]) == new[-1] * 100
        trace.precision_recall(reference, [1, 2])
        answered = tracemalloc.get_traced_memory()[1] - held
        tracemalloc.reset_peak()
        pack(trace.to_arrays())
        packed = tracemalloc.get_traced_memory()[1] - held
    finally:
        tracemalloc.stop()
    assert answered < 2 * count  # bytes; a count at every change would take eight each
    assert packed < 5 * count
