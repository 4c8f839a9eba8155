"""Groups in lanes, spread over lanes and single entries: where they lie, and that nothing of it shows in a run."""

import numpy as np
import pytest
from engine_agreement import assert_agrees, data
from scipy import sparse

from convex_bench import Problem
from convex_bench.engine import run
from convex_bench.engine.lanes import WIDTH
from convex_bench.engine.ordinary.chunks import deal
from convex_bench.engine.ordinary.sweep import ENTRIES, GROUPS, KIND, ONE_GROUP
from manifold_id.methods import RDA, RMDA, NormalMapSGD, ProxSAGA, ProxSGD, ProxSTORM, ProxSVRG, SPStorm, Stages
from manifold_id.regularizers import L1, MCP, ElasticNet, GroupLasso, NonnegativeL1, SparseGroupLasso


def labels(*sizes, seed=0):
    """Groups of these sizes, their entries in random places."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


UNEQUAL = labels(41, 1, 9, 2, 2, 1, 3, 5, 5, 4, 3, 2, 7, 1)  # one in all lanes, two chunks of lanes, three entries
PARTITIONS = {
    "unequal": UNEQUAL,
    "nine equal": labels(*[3] * 9),
    "one group": labels(13),
    "two large": labels(70, 65),
    "entries": labels(*[1] * 150),
}
METHODS = [
    RDA(gamma=2.0),
    RMDA(lr=0.1, momentum=0.3, stages=Stages((150, 300), 0.5, "sqrt")),
    ProxSGD(lr=0.1, momentum=0.2),
    ProxSAGA(),
    ProxSVRG(epoch=37),
    ProxSTORM(),
    SPStorm(lr=0.3, c=3.0, zeta=1.5),
    NormalMapSGD(lr=0.3, prox_step=0.7),
]


@pytest.mark.parametrize("name", PARTITIONS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_every_coordinate_has_one_place_and_every_group_its_slots(name, outputs):
    group = PARTITIONS[name]
    chunks = deal(np.repeat(group[:, None], outputs, axis=1))
    assert chunks.width % WIDTH == 0
    assert len(set(chunks.position.tolist())) == len(group) and chunks.position.max() < chunks.width
    if name == "unequal" and outputs == 1:
        assert set(chunks.table[:, KIND]) == {GROUPS, ONE_GROUP, ENTRIES}
    seen = np.zeros(chunks.width, dtype=int)
    owner = np.full(chunks.width, -1)
    owner[chunks.position] = group
    for at, (kind, start, length, plane, planes) in enumerate(chunks.table):
        places = np.arange(start, start + WIDTH * length).reshape(length, WIDTH)
        seen[places] += plane == 0
        slots = chunks.group[outputs * chunks.width + WIDTH * at :][:WIDTH]
        if kind == ENTRIES:
            assert planes == 1 and np.array_equal(chunks.group[plane * chunks.width + places], owner[places])
        else:
            assert planes == outputs
            assert ((owner[places] == slots) | (owner[places] == -1)).all()
    assert (seen == 1).all()
    shown, counts = np.unique(chunks.group[(chunks.group >= 0) & ~chunks.twin], return_counts=True)
    assert np.array_equal(shown, np.unique(group)) and (counts == 1).all()


def test_groups_across_outputs_are_left_to_the_gathered_loop():
    assert deal(np.array([[0, 1], [0, 1], [2, 2]])) is None
    assert deal(np.array([[0, 0], [1, 2], [0, 0]])) is not None


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_unequal_groups_agree(method, kind):
    X, y = data(p=len(UNEQUAL))
    problem = Problem(X if kind == "dense" else sparse.csr_array(X), y, regularizer=GroupLasso(0.2, groups=UNEQUAL))
    assert_agrees(problem, method, batch_size=1 if kind == "csr" else 6)
    assert_agrees(problem, method)


@pytest.mark.parametrize("name", PARTITIONS)
def test_partitions_agree_from_zero_with_an_intercept_and_unpenalized_groups(name):
    group = PARTITIONS[name]
    weights = np.where(np.arange(group.max() + 1) % 4 == 3, 0.0, 1.0)
    problem = Problem(*data(p=len(group)), regularizer=GroupLasso(0.05, groups=group, weights=weights), intercept=True)
    for method in (RDA(gamma=2.0), RMDA(lr=0.1, momentum=0.5)):
        assert_agrees(problem, method, batch_size=3, w0=np.zeros(problem.shape))


@pytest.mark.parametrize(
    "penalty",
    [
        SparseGroupLasso(0.05, groups=UNEQUAL, l1_ratio=0.4),
        ElasticNet(0.05, ridge=0.2, groups=UNEQUAL),
        MCP(0.05, gamma=2.5, groups=UNEQUAL),
        L1(0.02),
        NonnegativeL1(0.02),
    ],
    ids=lambda p: type(p).__name__,
)
@pytest.mark.parametrize("method", [ProxSGD(lr=0.1), RMDA(lr=0.05, momentum=0.5)], ids=lambda m: type(m).__name__)
def test_penalties_agree_on_unequal_groups(penalty, method):
    assert_agrees(Problem(*data(p=len(UNEQUAL)), regularizer=penalty), method, batch_size=5)


@pytest.mark.parametrize(
    "penalty",
    [GroupLasso(0.03, groups=labels(17, 1, 2, 2, 1)), GroupLasso(0.03, axis=1), L1(0.01)],
    ids=["rows", "columns", "entries"],
)
@pytest.mark.parametrize("intercept", [False, True])
def test_multinomial_agrees(penalty, intercept):
    X, y = data("multinomial", p=23)
    problem = Problem(X, y, "multinomial", regularizer=penalty, intercept=intercept)
    for method in (RMDA(lr=0.1, momentum=0.5), ProxSAGA()):
        assert_agrees(problem, method)
        assert_agrees(problem, method, batch_size=6)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("replacement", [True, False])
def test_bits_do_not_depend_on_where_blocks_end(method, replacement, monkeypatch):
    problem = Problem(*data(p=len(UNEQUAL)), regularizer=GroupLasso(0.2, groups=UNEQUAL))
    options = {"batch_size": 3, "replacement": replacement, "checkpoints": np.array([400])}
    whole = run(problem, method, [1], 400, **options)[0]
    monkeypatch.setattr("convex_bench.engine.ordinary.loop.BLOCK", 7)
    parts = run(problem, method, [0, 1], 400, threads=2, **options)[1]
    assert whole.w.tobytes() == parts.w.tobytes()
    assert whole.curves["estimator_error"] == parts.curves["estimator_error"]
    for one, other in ((whole.trace, parts.trace), (whole.prox_trace, parts.prox_trace)):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("step", "atom", "new"))


def test_float32_rows_and_a_read_only_design():
    X, y = data(p=len(UNEQUAL))
    for design in (X.astype(np.float32), X.copy()):
        design.flags.writeable = False
        assert_agrees(Problem(design, y, regularizer=GroupLasso(0.03, groups=UNEQUAL)), RMDA(lr=0.1, momentum=0.4))
