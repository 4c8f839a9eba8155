"""The page: whole in itself, valid, accessible, escaped, and the same for the same input."""

import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from manifold_id.report import Picture, Section, Table, write

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, ids and texts of a page; open elements must be closed in their order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.attributes, self.texts, self.tags = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute"
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def figure(title="Active groups", clipped=True):
    drawn = Figure(figsize=(3, 2))
    ax = drawn.subplots()
    ax.plot([1, 2, 3], [1, 4, 9], marker="o", clip_on=clipped)
    ax.set_title(title)
    return drawn


def sections():
    pictures = [Picture(figure(), 'groups of <a9a> & "others"'), Picture(figure(), "the same once more")]
    table = Table(["method", "identified"], [["RMDA", "20/20"], ["<b>ProxSGD</b>", "0/20"]], "Methods", "note: a < b")
    first = Section("a9a", ["Margin & noise."], [table], pictures)
    return [
        first,
        Section("a9a", pictures=[Picture(figure(""), "no title")]),
        Section("Repeat", code=["manifold-id study --out 'x y'"]),
    ]


@pytest.fixture
def html(tmp_path):
    return write(tmp_path / "report.html", "Study of <planted>", ["One & all."], sections()).read_text(encoding="utf-8")


def test_page_needs_nothing_else(html):
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in ("href", "xlink:href", "src", "srcset", "data", "action"):
            assert value.startswith("#"), f"<{tag} {name}={value!r}>"
    assert "http" not in html
    assert "@import" not in html


def test_ids_are_unique_and_references_resolve(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    used = re.findall(r"url\(#([^)]*)\)", html) + [v[1:] for _, n, v in page.attributes if n in ("href", "xlink:href")]
    used += " ".join(v for _, n, v in page.attributes if n == "aria-labelledby").split()
    assert len(used) > 20
    assert set(used) <= set(page.ids)


def test_figures_can_be_heard(html):
    page = Page(html)
    assert page.tags.count("svg") == 3
    assert [v for tag, n, v in page.attributes if (tag, n) == ("svg", "role")] == ["img"] * 3
    described = [text for tag, text in page.texts if tag == "desc"]
    assert "".join(described) == 'groups of <a9a> & "others"' + "the same once more" + "no title"
    titles = [text for tag, text in page.texts if tag == "title"]
    assert titles == ["Study of <planted>", "Active groups", "Active groups", "no title"]
    assert ("html", "lang", "en") in page.attributes


def test_names_are_escaped(html):
    page = Page(html)
    assert ("h1", "Study of <planted>") in page.texts
    assert ("td", "<b>ProxSGD</b>") in page.texts
    assert ("small", "note: a < b") in page.texts
    assert ("pre", "manifold-id study --out 'x y'") in page.texts
    assert ("figcaption", 'groups of <a9a> & "others"') in page.texts
    assert "b" not in page.tags
    assert "planted" not in page.tags


def test_page_reads_on_a_phone_and_on_paper(html):
    assert ("meta", "name", "viewport") in Page(html).attributes
    assert "@media print" in html
    widths = re.findall(r'<svg[^>]*viewBox="', html)
    assert len(widths) == 3  # scalable


def test_equal_input_is_an_equal_page(tmp_path, html):
    again = write(tmp_path / "again.html", "Study of <planted>", ["One & all."], sections())
    assert again.read_text(encoding="utf-8") == html


def test_page_is_whole_or_not_written(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(AttributeError):
        write(path, "t", [], [Section("s", pictures=[Picture(None, "no figure")])])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_columns_of_words_stand_to_the_left_and_long_ones_are_wrapped():
    table = Table(["name", "value", "note"], [["a", "1", "short"], ["b", "2", "long " * 20]], words=(0, 2))
    classes = re.findall(r"<t[hd]([^>]*)>", table._repr_html_())
    words, long = ' class="words"', ' class="words long"'
    heads = [' scope="col"' + word for word in (words, "", words)]
    assert classes[1:] == [*heads, words, "", words, words, "", long]  # the first is <thead>


def test_a_notebook_shows_a_table_as_the_page_does(tmp_path):
    (table,) = sections()[0].tables
    shown = table._repr_html_()
    assert shown in write(tmp_path / "page.html", "t", [], sections()).read_text(encoding="utf-8")
    texts = [text.strip() for _, text in Page(shown).texts if text.strip()]
    assert texts == ["Methods", *table.columns, *table.rows[0], *table.rows[1], table.note]
