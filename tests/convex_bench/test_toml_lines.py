"""The lines of keys in TOML files, whatever way they are written."""

import pytest

from convex_bench.specs.toml_lines import key_lines, line_of

TEXT = '''# comment
seeds = 3

[problems.a9a]   # header with a comment
data = "a9a"
weights = [
  1, # [methods.fake]
  2]
"quoted.key".b = 1
planted = { n = 3, groups = [1,
 2] }
text = """
[methods.fake]
x = 1
"""
[methods]
RMDA.lr = 3
"Prox SGD" = {lr = 1}
[[x.y]]
a = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("seeds",), 2),
        (("problems", "a9a"), 4),
        (("problems", "a9a", "data"), 5),
        (("problems", "a9a", "weights"), 6),
        (("problems", "a9a", "quoted.key", "b"), 9),
        (("problems", "a9a", "planted", "n"), 10),
        (("problems", "a9a", "text"), 12),
        (("methods",), 16),
        (("methods", "RMDA", "lr"), 17),
        (("methods", "Prox SGD", "lr"), 18),
        (("x", "y", "a"), 20),
    ],
)
def test_line_of_each_key(path, line):
    lines = key_lines(TEXT)
    assert lines[path] == line == line_of(path, lines)


def test_what_looks_like_a_header_in_a_string_or_comment_is_none():
    assert ("methods", "fake") not in key_lines(TEXT)


def test_a_key_that_is_not_written_has_the_line_of_its_table():
    lines = key_lines(TEXT)
    assert line_of(("problems", "a9a", "lam"), lines) == 4
    assert line_of(("problems", "other"), lines) == 4  # [problems.a9a] begins the table of problems
    assert line_of(("nowhere",), lines) is None


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends(newline):
    assert key_lines(newline.join(["a = 1", "", "b = [", "1]", "c = 2"])) == {("a",): 1, ("b",): 3, ("c",): 5}
