"""One HTML page that needs nothing else: words, tables and figures under a title, in light and in dark.

The page's own policy forbids any request to a host.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_suffix(".css")
"""Colours and tables, also the dashboard's."""

INK, QUIET = "#7b8494", "rgba(128,134,145,0.3)"
"""Of a figure's words and lines, neither light nor dark, so that they are read on both."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title><style>{style}
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 0 auto; padding: 1.5rem 1rem 4rem;
 color: light-dark(#1b1f27, #e8ebf0); background: light-dark(#fff, #10141b); }}
h1 {{ font-size: 1.7rem; margin: 0 0 .4rem; }} h3 {{ margin: 2rem 0 .4rem; font-size: 1.15rem; }}
figure {{ margin: 0; }} figcaption, .quiet {{ color: var(--quiet); font-size: .88rem; }}
</style><script>{script}</script></head><body>
{body}
</body></html>
"""


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """The whole page.

    Args:
        title: of the window. parts: HTML of its body, in order. style: further rules.
    """
    from plotly.offline import get_plotlyjs

    return PAGE.format(
        title=escape(title),
        style=STYLE.read_text("utf-8") + style,
        script=get_plotlyjs(),
        body="\n".join(parts),
    )


def write(path: Path, title: str, parts: Sequence[str]) -> None:
    """Writes a page that begins with its title, in one step.

    Raises:
        BadInput: the file cannot be written.
    """
    from experiment.errors import BadInput
    from experiment.folder import atomic

    text = page(f"Storelift: {title}", [f"<h1>{escape(title)}</h1>", *parts])
    try:
        atomic.write_bytes(path, text.encode())
    except OSError as error:
        raise BadInput(f"figure: got {path}, allowed: a file that can be written ({error})") from error


def words(text: str, *, quiet: bool = False) -> str:
    """A paragraph."""
    return f'<p class="quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """Of a part."""
    return f"<h3>{escape(text[:1].upper() + text[1:])}</h3>"


def figure(made: Any, caption: str) -> str:
    """A plotly figure, in ink that is read in light and dark.

    Args:
        made: the figure; its layout is changed. caption: stands below it, and is what a reader hears.
    """
    made.update_layout(
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": INK, "size": 13}
    )
    made.update_xaxes(gridcolor=QUIET, linecolor=QUIET, zerolinecolor=QUIET)
    made.update_yaxes(gridcolor=QUIET, zerolinecolor=QUIET)
    drawn = made.to_html(
        full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    label = escape(caption, quote=True)
    return f'<figure aria-label="{label}">{drawn}<figcaption>{label}</figcaption></figure>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    theirs: Sequence[int] = (),
    *,
    first: Container[int] = (),
    text: bool = False,
) -> str:
    """A plain table, of `text` or of numbers.

    Args:
        head: names of the columns. rows: their cells. theirs: places of columns that are somebody else's.
        first: places of rows that lead. text: whether it is of words.
    """

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=theirs' if i in theirs else ''}>{escape(text)}</{tag}>"
            for i, text in enumerate(texts)
        )

    body = "".join(
        f"<tr{' class=first' if place in first else ''}>{cells('td', row)}</tr>"
        for place, row in enumerate(rows)
    )
    kind = "plain text" if text else "plain"
    return (
        f'<div class="plain-wrap"><table class="{kind}"><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
