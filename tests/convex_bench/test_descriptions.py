"""Keys of results are made of content: whatever differs in a method or a regularizer differs in its key."""

import copy
import dataclasses
import enum
import inspect

import numpy as np
import pytest

from convex_bench import Problem
from convex_bench.specs.build import REGULARIZERS
from convex_bench.storage import key_of
from convex_bench.studies.descriptions import content, describe_problem, describe_run
from manifold_id.methods import METHODS, RMDA, Method, Stages
from manifold_id.regularizers import L1, Box, GroupLasso, LInfBall, SparseGroupLasso, Unpenalized

FIRST = {"lam": 0.1, "lr": 0.1, "lower": -1.0, "upper": 1.0, "radius": 1.0, "l1_ratio": 0.5, "ridge": 0.1, "gamma": 3.0}
LONG = np.arange(2000.0)


def instance(kind):
    """An object of a class of a registry; all its required parameters are numbers."""
    required = [f.name for f in dataclasses.fields(kind) if f.init and f.default is dataclasses.MISSING]
    groups = {"groups": 2} if kind is SparseGroupLasso else {}  # the only one that asks for one of two
    return kind(**{name: FIRST[name] for name in required}, **groups)


CASES = [*map(instance, METHODS.values()), *map(instance, REGULARIZERS.values()), LInfBall(1.0), Unpenalized(L1(0.1))]
CASES += [Stages((1, 2)), Box(tuple(LONG), np.inf)]


def describe(value):
    if isinstance(value, Method):
        return describe_run("problem", value, 10, 1, True)
    return {"content": content("value", value)}


@pytest.mark.parametrize("value", CASES, ids=lambda value: type(value).__name__)
def test_every_field_is_part_of_the_key(value):
    changed = LONG.copy()
    changed[1000] = -1.0
    before = describe(value)
    assert key_of(before) == key_of(describe(copy.copy(value)))
    for field in dataclasses.fields(value):
        if field.init:
            keys = {key_of(before)}
            for other in ("other", LONG, changed, LONG.astype(np.float32), LONG.reshape(40, 50), Stages((3,)), L1(0.3)):
                one = copy.copy(value)
                object.__setattr__(one, field.name, other)
                keys.add(key_of(describe(one)))
            assert len(keys) == 8, field.name


def test_long_arrays_of_a_problem_are_read_to_the_end():
    X, y = np.eye(3, 2000), np.arange(3.0)
    upper = np.full(2000, 2.0)
    other = upper.copy()
    other[1000] = 3.0
    first, second = (Problem(X, y, "squared", Box(-1.0, bound)) for bound in (upper, other))
    assert key_of(describe_problem(first)) != key_of(describe_problem(second))


@dataclasses.dataclass(frozen=True)
class Mine(RMDA):
    schedule: object = dataclasses.field(default=None, repr=False)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    "values",
    [
        [1, 1.0, True, "1", b"1", None, (1,), [1], {1}, {1: 1}, np.int64(1), np.array([1])],
        [0.0, -0.0, 1e-300, float("nan"), float("inf")],
        [{"a": 1}, {"a": 2}, {"b": 1}],
        [Colour.RED, Colour.BLUE],
        [(LONG, 1), (LONG + 1, 1), (LONG, 2), ([LONG], 1)],
        [np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)],
        [GroupLasso(0.1, groups=["a", "b"]), GroupLasso(0.1, groups=["a", "c"]), GroupLasso(0.1, groups=[0, 1])],
    ],
)
def test_different_values_have_different_contents(values):
    for wrap in (lambda value: value, lambda value: Mine(lr=0.1, schedule=value)):
        assert len({content("x", wrap(value)) for value in values}) == len(values)


def test_order_of_a_set_is_no_content():
    assert content("x", {"a", "b", "c"}) == content("x", set("cba"))


class Opaque:
    def __repr__(self):
        return "Opaque()"  # says nothing of what it holds


class Undecorated(RMDA):
    def __init__(self, hidden):
        super().__init__(lr=0.1)
        object.__setattr__(self, "hidden", hidden)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Mine(lr=0.1, schedule=lambda t: t), r"x\.schedule=<function"),
        (Mine(lr=0.1, schedule=[1, {"a": Opaque()}]), r"x\.schedule\[1\]\['a'\]=Opaque\(\)"),
        (Mine(lr=0.1, schedule=Stages), r"x\.schedule=<class"),
        (Undecorated(1), r"x=Undecorated\("),
    ],
)
def test_what_does_not_say_what_it_holds_is_refused(value, name):
    with pytest.raises(TypeError, match=rf"^{name}.*: make its class a dataclass"):
        content("x", value)


def test_classes_of_others_are_told_apart_by_their_source(monkeypatch):
    before = content("x", Mine(lr=0.1))
    assert before == content("x", Mine(lr=0.1)) and "<" not in content("x", RMDA(lr=0.1))
    original = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda kind: original(kind).replace("None", "0"))
    assert content("x", Mine(lr=0.1)) != before
