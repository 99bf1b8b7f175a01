"""A page of Markdown in which a command keeps its tables up to date, between two comments."""

from __future__ import annotations

from pathlib import Path

from experiment.errors import BadInput


def markers(name: str) -> tuple[str, str]:
    """The comments between which the tables of `name` stand."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def read_page(path: Path, name: str) -> tuple[str, str]:
    """What stands before and after the tables of `name`, with the markers. Raises BadInput without them."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"write: got {path}, allowed: a readable page ({error})") from error
    opening, closing = markers(name)
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not (begin and end):
        raise BadInput(f"write: got {path} without the markers, allowed: a page with {opening} and {closing}")
    return before + begin, end + after


def write_page(path: Path, name: str, markdown: str) -> None:
    """Puts `markdown` between the markers of `name` on the page as it is now. Raises BadInput."""
    from experiment.folder import atomic

    before, after = read_page(path, name)
    atomic.write_bytes(path, f"{before}\n\n{markdown}\n\n{after}".encode())
