"""A user's own method and regularizer, named "module:Class", in studies and in trainings."""

import sys
import textwrap

import pytest
from click.testing import CliRunner
from command_points import found

from convex_bench.specs.spec import Spec
from manifold_id import cli
from manifold_id.import_path import class_named
from manifold_id.methods import METHODS, Method

MODULE = '''
from dataclasses import dataclass
from manifold_id.methods import Method, State
from manifold_id.regularizers import L1

@dataclass(frozen=True)
class Plain(Method):
    """Proximal SGD, anew."""
    lr: float = 0.1

    def init(self, w0):
        return State(0, w0, w0, 0 * w0)

    def update(self, oracle, state, regularizer):
        g = oracle(state.w)
        w = regularizer.prox(state.w - self.lr * g, self.lr)
        return State(state.t + 1, w, w, g)

@dataclass(frozen=True, repr=False)
class Lasso(L1):
    """L1 by another name."""

three = 3
'''
SPEC = """
seeds = 2
steps = 40
[problems.own]
data = "rows.svm"
regularizer = "{module}:Lasso"
lam_ratio = 0.3
[methods.mine]
method = "{module}:Plain"
lr = 0.05
[methods.ProxSGD]
lr = 0.05
"""
ROWS = "".join(f"{1 if i % 2 else -1} 1:{i % 5} 2:{(i * 7) % 3 - (i % 2)}\n" for i in range(30))


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """A module of this test's own name in an empty folder, which is the current one."""
    name = "own_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "rows.svm").write_text(ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def test_a_study_runs_them_as_its_own(module, tmp_path):
    (tmp_path / "s.toml").write_text(SPEC.format(module=module))
    with pytest.warns(UserWarning, match="no compiled loop for mine on own: the method's own update runs"):
        results = Spec(tmp_path / "s.toml").study().run(tmp_path / "out")
    frame = results.frame().set_index(["method", "seed"])
    for seed in (0, 1):
        ours, theirs = (frame.loc[(name, seed), "objective"] for name in ("mine", "ProxSGD"))
        assert ours == pytest.approx(theirs, rel=1e-13)


def test_a_training_takes_them(module, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "entry_points", found)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = f'model = "mlp"\ndata = "digits"\nmethod = "{module}:Plain"\nregularizer = "{module}:Lasso"\nlam = 0.001\n'
    (tmp_path / "c.toml").write_text(config + "epochs = 1\ntrain_rows = 128\nlr = 0.05\n")
    done = CliRunner().invoke(cli.main, ["train", "c.toml", "--out", "own"])
    assert done.exit_code == 0, (done.output, done.exception)
    config = config.replace(f"{module}:Plain", "ProxSGD").replace(f"{module}:Lasso", "L1")
    config += "options = { foreach = false, fused = false }\n"  # the plain loop, to the last bit
    (tmp_path / "c.toml").write_text(config + "epochs = 1\ntrain_rows = 128\nlr = 0.05\n")
    assert CliRunner().invoke(cli.main, ["train", "c.toml", "--out", "built-in"]).exit_code == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("own", "built-in")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("RMDB", ValueError, "did you mean 'RMDA'.*or give your own as"),
        ("nowhere_at_all:Plain", ValueError, "there is no module of that name, installed or in"),
        ("{module}:Plane", ValueError, "has no 'Plane'"),
        ("{module}:three", TypeError, "must be a subclass of Method"),
        ("{module}:Lasso", TypeError, "must be a subclass of Method"),
        (3, ValueError, "method=3 is not known"),
    ],
)
def test_what_is_not_there_is_named(name, error, message, module):
    with pytest.raises(error, match=message):
        class_named("method", name.format(module=module) if isinstance(name, str) else name, METHODS, Method)


def test_a_module_that_fails_says_how(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("1 / 0")
    with pytest.raises(ValueError, match=r"its import fails: ZeroDivisionError"):
        class_named("method", f"{module}:Plain", METHODS, Method)
