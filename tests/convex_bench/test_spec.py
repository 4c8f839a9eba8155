"""Study files: what they may say, and one clear error with file, key and line for what they may not."""

import re
import textwrap

import numpy as np
import pytest

from convex_bench import Problem, planted
from convex_bench.specs import spec as spec_module
from convex_bench.specs.spec import BUILTIN, Spec, SpecError
from manifold_id.methods import METHODS, RMDA, ProxSGD, Stages
from manifold_id.regularizers import L1, ElasticNet, GroupLasso

GOOD = """\
seeds = [3, 1]
steps = 50
batch_size = 2
replacement = false
persistence = 0.4

[problems.small]
data = "tiny.svm"
loss = "logistic"
intercept = true
regularizer = "GroupLasso"
groups = 2
lam_ratio = 0.5

[problems.known]
planted = { n = 60, groups = 6, group_size = 2, active = 2, seed = 1 }

[methods.RMDA]
lr = 0.1

[methods."restarted, RMDA"]
method = "RMDA"
momentum = 0.5
stages = { milestones = [10, 20], factor = 0.5 }

[methods]
ProxSGD.lr = 0.2
"""


def tiny():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 6)).round(3)
    return X, np.where(X[:, 0] + 0.5 * rng.standard_normal(20) > 0, 1, -1)


@pytest.fixture
def folder(tmp_path):
    rows = zip(*tiny(), strict=True)
    lines = [f"{label:+d} " + " ".join(f"{j + 1}:{x:g}" for j, x in enumerate(row)) for row, label in rows]
    (tmp_path / "tiny.svm").write_text("\n".join(lines) + "\n")
    (tmp_path / "labels.txt").write_text("b\nb\na\na\nc\nc\n")
    (tmp_path / "broken.svm").write_text("not a data file\n")
    return tmp_path


def write(folder, text):
    (folder / "s.toml").write_text(textwrap.dedent(text))
    return folder / "s.toml"


def test_a_good_file(folder):
    study = Spec(write(folder, GOOD)).study()
    assert study.seed_list == (3, 1)
    assert (study.steps, study.batch_size, study.replacement, study.persistence) == (50, 2, False, 0.4)
    X, y = tiny()
    expected = Problem(X, y, regularizer=GroupLasso(1.0, groups=2), intercept=True)
    small = study.problems["small"]
    assert small.penalty.lam == pytest.approx(0.5 * expected.lambda_max(), rel=1e-12)
    assert small.penalty.with_lam(1.0) == expected.penalty
    assert small.intercept
    np.testing.assert_allclose(small.gradient(np.ones(7)), expected.gradient(np.ones(7)), rtol=1e-12)
    known = planted(60, groups=6, group_size=2, active=2, seed=1).problem
    assert study.problems["known"].digest == known.digest
    assert study.problems["known"].penalty == known.penalty
    assert study.methods == {
        "RMDA": RMDA(lr=0.1),
        "restarted, RMDA": RMDA(momentum=0.5, stages=Stages(milestones=(10, 20), factor=0.5)),
        "ProxSGD": ProxSGD(lr=0.2),
    }


def test_the_command_line_overrides(folder):
    study = Spec(write(folder, GOOD)).study(seeds=4, steps=7)
    assert (study.seed_list, study.steps) == ((0, 1, 2, 3), 7)


@pytest.mark.parametrize(
    ("lines", "regularizer"),
    [
        ('regularizer = "L1"\nlam = 0.25', L1(0.25)),
        ("lam = 1", L1(1.0)),
        ('regularizer = "ElasticNet"\nlam = 0.25\nridge = 0.5', ElasticNet(0.25, 0.5)),
        ('regularizer = "GroupLasso"\nlam = 0.25\ngroups = 3', GroupLasso(0.25, groups=3)),
        ('regularizer = "GroupLasso"\nlam = 0.25\ngroups = 3\nweights = [1, 2.0]', GroupLasso(0.25, 3, weights=[1, 2])),
        ('regularizer = "GroupLasso"\nlam = 0.25\ngroups = "labels.txt"', GroupLasso(0.25, groups=2)),
        ('regularizer = "GroupLasso"\nlam = 0.25\ngroups = [[0, 1], [2, 3], [4, 5]]', GroupLasso(0.25, groups=2)),
        ('regularizer = "GroupLasso"\nlam = 0.25\ngroups = [0, 0, 1, 1, 2, 2]', GroupLasso(0.25, groups=2)),
    ],
)
def test_regularizers_and_groups(folder, lines, regularizer):
    text = f'[problems.p]\ndata = "tiny.svm"\n{lines}\n[methods.RMDA]\n'
    problem = Spec(write(folder, text)).study().problems["p"]
    X, y = tiny()
    w = np.random.default_rng(1).standard_normal((5, 6))
    expected = Problem(X, y, regularizer=regularizer)
    np.testing.assert_allclose(problem.value(w), expected.value(w), rtol=1e-12)
    np.testing.assert_array_equal(problem.regularizer.structure(w), expected.regularizer.structure(w))


def test_natural_groups_of_a_named_data_set(folder):
    text = '[problems.p]\ndata = "memset"\nregularizer = "GroupLasso"\ngroups = "natural"\nlam = 0.1\n[methods.RMDA]\n'
    problem = Spec(write(folder, text)).study().problems["p"]
    assert problem.regularizer.structure(np.zeros(28)).shape == (7,)


def test_the_example_in_the_docstring_is_valid(folder):
    lines = textwrap.dedent(spec_module.__doc__.split("\n\n", 1)[1].rsplit("\n\n", 1)[0])
    study = Spec(write(folder, lines)).study()
    assert set(study.methods) == {"RMDA", "RMDA, restarted"}
    assert study.methods["RMDA, restarted"].stages == Stages(milestones=(50_000,), factor=0.3)


def test_the_builtin_study_is_valid():
    spec = Spec(BUILTIN)
    assert {table.get("method", name) for name, table in spec.content["methods"].items()} <= set(METHODS)
    study = spec.study()
    assert len(study.seed_list) == 20
    assert set(study.problems) == {"a9a", "planted"}


# Each row: a line of GOOD, what stands in its place, and the line number and message that must come of it.
BAD = [
    ("steps = 50", "step = 50", 2, r"step: key='step' is not known: did you mean 'steps'\?"),
    ("steps = 50", "steps = 0", 2, "steps=0 must be at least 1"),
    ("steps = 50", "steps = 5.5", 2, r"steps: must be an integer, not a number \(5.5\)"),
    ("steps = 50", 'steps = "50"', 2, r"steps: must be an integer, not a string \('50'\)"),
    ("steps = 50", "steps = true", 2, r"steps: must be an integer, not true or false \(True\)"),
    ("seeds = [3, 1]", "seeds = [3, 3]", 1, "seeds=.* holds 3 more than once"),
    ("seeds = [3, 1]", "seeds = [3, 0.5]", 1, "seeds=0.5 must be an integer"),
    ("seeds = [3, 1]", "seeds = 0", 1, "seeds=0 must be at least 1"),
    ("batch_size = 2", "batch_size = 21", 3, "batch_size=21 is larger than the 20 rows of problem 'small'"),
    ("replacement = false", "replacement = 0", 4, "replacement: must be true or false, not an integer"),
    ("persistence = 0.4", "persistence = 2", 5, "persistence=2 must be"),
    ("[problems.small]", "[problem.small]", 7, r"problem: key='problem' is not known: did you mean 'problems'\?"),
    ('data = "tiny.svm"', "", 7, "problems.small: names no data"),
    ('data = "tiny.svm"', 'data = "mushroms"', 8, r"'mushroms'.* did you mean 'mushrooms'\?"),
    ('data = "tiny.svm"', 'data = "absent.svm"', 8, "absent.svm"),
    ('data = "tiny.svm"', 'data = "broken.svm"', 8, "broken.svm is not svmlight"),
    ('loss = "logistic"', 'loss = "logistik"', 9, r"loss='logistik' is not known: did you mean 'logistic'\?"),
    ('loss = "logistic"', "loss = 1", 9, "problems.small.loss: must be a string, not an integer"),
    ("intercept = true", 'intercept = "yes"', 10, "problems.small.intercept: must be true or false, not a string"),
    ('regularizer = "GroupLasso"', 'regularizer = "GroupLaso"', 11, r"'GroupLaso' .* did you mean 'GroupLasso'\?"),
    ("groups = 2", "group = 2", 12, r"problems.small.group: key='group' is not known: did you mean 'groups'\?"),
    ("groups = 2", 'groups = "natural"', 12, "groups='natural': 'tiny.svm' comes without groups"),
    ("groups = 2", 'groups = "absent.txt"', 12, "groups='absent.txt': there is no such file"),
    ("groups = 2", "groups = [[0, 1], [1, 2]]", 12, "problems.small.groups: .*groups"),
    ("groups = 2", "groups = [0, 0, 1]", 12, "problems.small.groups: .*groups"),
    ("lam_ratio = 0.5", "lam_ratio = -1", 13, "lam_ratio=-1 must be"),
    ("lam_ratio = 0.5", "lam = -1", 13, "lam=-1 must be"),
    ("lam_ratio = 0.5", 'lam = "big"', 13, "problems.small.lam: must be a number, not a string"),
    ("lam_ratio = 0.5", "lam_ratio = 0.5\nlam = 1", 14, "give exactly one of them"),
    ("lam_ratio = 0.5", "", 7, "give exactly one of them"),
    ("planted = {", "planted = 3 # {", 16, "problems.known.planted: must be a table, not an integer"),
    ("planted = { n = 60, ", "planted = { n = 60, grups = 1, ", 16, r"'grups' is not known: did you mean 'groups'\?"),
    ("planted = { n = 60, ", "planted = { n = 0, ", 16, "n=0 must"),
    ("planted = {", 'loss = "squared"\nplanted = {', 16, r"problems.known.loss: key='loss' is not known"),
    ("[methods.RMDA]", "[methods.RMDAA]", 18, r"method='RMDAA' is not known: did you mean 'RMDA'\?"),
    ("lr = 0.1\n", "lr = -0.1\n", 19, "methods.RMDA.lr: lr=-0.1 must be"),
    ("lr = 0.1\n", "lrr = 0.1\n", 19, r"methods.RMDA.lrr: .*'lrr' is not known: did you mean 'lr'\?"),
    ("lr = 0.1\n", 'lr = "fast"\n', 19, "methods.RMDA.lr: lr='fast' must be a real number"),
    ('method = "RMDA"', 'method = "RMAD"', 22, r"method='RMAD' is not known: did you mean 'RMDA'\?"),
    ('method = "RMDA"', "method = 3", 22, "method: must be a string, not an integer"),
    ("factor = 0.5", "factor = 5", 24, "factor=5 must be"),
    ("ProxSGD.lr = 0.2", "ProxSGD = 0.2", 27, "methods.ProxSGD: must be a table, not a number"),
    ("ProxSGD.lr = 0.2", "ProxSGD.lr = = 0.2", 27, "is not valid TOML"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), BAD)
def test_bad_files(folder, old, new, line, message):
    assert old in GOOD
    path = write(folder, GOOD.replace(old, new, 1))
    with pytest.raises(SpecError, match=message) as caught:
        Spec(path).study()
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["problems", "methods"])
def test_a_file_without_a_part(folder, part):
    text = re.sub(rf"^\[{part}.*?(?=^\[(?!{part})|\Z)", "", GOOD, flags=re.MULTILINE | re.DOTALL)
    with pytest.raises(SpecError, match=rf"s.toml: has no table \[{part}.NAME\]"):
        Spec(write(folder, text))


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"study file '.*absent.toml' does not exist"):
        Spec(tmp_path / "absent.toml")
    (tmp_path / "s.toml").write_bytes(b"steps = 3\n\xff\xfe")
    with pytest.raises(SpecError, match="is not UTF-8"):
        Spec(tmp_path / "s.toml")


def test_keys_are_checked_before_any_data_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(spec_module, "build_problem", lambda *a, **k: pytest.fail("loaded"))
    for old, new in (("lr = 0.1\n", "lr = -1\n"), ("steps = 50", "steps = 0"), ("factor = 0.5", "factor = 2")):
        with pytest.raises(SpecError):
            Spec(write(folder, GOOD.replace(old, new))).study()
