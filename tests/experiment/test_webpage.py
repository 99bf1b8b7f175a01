import re

import plotly.graph_objects as go
import pytest

from experiment import webpage
from experiment.errors import BadInput

EVIL = '<script>alert("x")</script>&'


def own(text):
    """The page without plotly's code and without figures' data, which are JSON within scripts."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_a_page_asks_nobody_and_is_for_light_and_dark(tmp_path):
    webpage.write(tmp_path / "p.html", "A title", [webpage.words("One."), webpage.words("Two.", quiet=True)])
    text = own((tmp_path / "p.html").read_text("utf-8"))
    assert "default-src 'none'" in text
    assert "color-scheme: light dark" in text
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", text)
    assert "<title>Storelift: A title</title>" in text
    assert '<h1>A title</h1>\n<p>One.</p>\n<p class="quiet">Two.</p>' in text


def test_words_stay_words():
    parts = [webpage.words(EVIL), webpage.heading(EVIL), webpage.table([EVIL], [[EVIL]], text=True)]
    parts.append(webpage.figure(go.Figure(), EVIL))
    text = webpage.page(EVIL, parts)
    assert "alert(&quot;x&quot;)" in text
    assert EVIL not in text


def test_a_table_marks_whose_columns_and_rows_are_others():
    text = webpage.table(["", "here", "there"], [["a", "1", "2"], ["b", "3", "4"]], theirs=(2,), first={1})
    assert "<tr><td>a</td><td>1</td><td class=theirs>2</td></tr>" in text
    assert "<tr class=first><td>b</td><td>3</td><td class=theirs>4</td></tr>" in text
    assert 'class="plain"' in text
    assert 'class="plain text"' in webpage.table(["x"], [["y"]], text=True)


def test_a_figure_has_no_paper_of_its_own():
    made = go.Figure(layout={"template": "plotly_white"})
    text = webpage.figure(made, "What it shows")
    assert made.layout.paper_bgcolor == made.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert made.layout.font.color == webpage.INK
    assert text.startswith('<figure aria-label="What it shows">')
    assert "<figcaption>What it shows</figcaption>" in text


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"figure: got .*file/p\.html, allowed: a file that can be written \("):
        webpage.write(tmp_path / "file" / "p.html", "t", [])
