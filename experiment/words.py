"""Numbers and names as people read them."""

from __future__ import annotations

NAMES = {
    "wide": "Wide",
    "deep": "Deep",
    "wide_deep": "Wide & Deep",
    "ensemble": "Ensemble",
    "fm": "FM",
    "random": "Random",
    "popularity": "Popularity",
    "oracle": "Oracle",
    "production": "Production",
}

DASH = "–"
"""What stands where nothing is known."""


def arm_name(arm: str) -> str:
    """The arm as the paper writes it, else as it is."""
    return NAMES.get(arm, arm)


def percent(share: float | None, digits: int = 1) -> str:
    """A lift, +3.9%; a dash for None."""
    if share is None:
        return DASH
    text = f"{100 * share:+.{digits}f}%"
    return text.replace("-", "−") if float(text[:-1]) else f"{0:.{digits}f}%"


def interval(ends: tuple[float, float] | list[float] | None, digits: int = 1) -> str:
    """An interval of lifts, +1.2 … +6.6%; a dash for None."""
    if ends is None:
        return DASH
    return f"{percent(ends[0], digits).removesuffix('%')} … {percent(ends[1], digits)}"


def p_value(p: float | None) -> str:
    """A p-value with two digits that count, <.0001 below that; a dash for None."""
    if p is None:
        return DASH
    return "<.0001" if p < 0.0001 else f"{p:.4f}".lstrip("0") if p < 0.01 else f"{p:.3f}".lstrip("0")


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits; a dash for None."""
    return DASH if value is None else f"{value:.{digits}f}"


def big(value: float) -> str:
    """A count in thousands and millions: 950, 41.2k, 1.23M."""
    for limit, digits, unit in ((1e9, 2, "G"), (1e6, 2, "M"), (1e4, 0, "k"), (1e3, 1, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.{digits}f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
