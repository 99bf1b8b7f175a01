"""A run's report as one HTML file that needs nothing else: `python -m dashboard.report_html RUN OUT`.

The same figures as on the pages; no request to any host, which the file's own policy forbids.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import Any

from dashboard import (
    card_rows,
    figures,
    lab_figures,
    markup,
    measures,
    paper,
    reading,
    scorecard,
    series,
    words,
)
from dashboard import results as outcome
from dashboard.figures import Line
from dashboard.palette import inks
from dashboard.reading import Document, Run
from experiment.errors import BadInput
from experiment.folder import atomic
from experiment.reporting.text import level, power_note
from experiment.words import arm_name

HERE = Path(__file__).parent

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
.health, .verdict {{ margin: .9rem 0; }} figure {{ margin: 0; }}
figcaption {{ color: var(--quiet); font-size: .88rem; }}
</style><script>{script}</script></head><body>
{body}
</body></html>
"""


def write(run_folder: Path, out: Path) -> Path:
    """Writes the report of the run at `run_folder` to `out`, in one step, and returns `out`.

    Raises:
        BadInput: there is no run, it has no results yet, or the file cannot be written.
    """
    if not reading.is_run(run_folder):
        raise BadInput(f"run: got {run_folder}, allowed: a run folder")
    run = reading.read(run_folder)
    results = outcome.document(run)
    if run.state == "damaged":
        raise BadInput(str(run.message))
    if results is None:
        raise BadInput(f"run: got {run_folder}, whose first day is not finished, allowed: a run with results")
    try:
        atomic.write_bytes(out, render(run, results).encode())
    except OSError as error:
        raise BadInput(f"out: got {out}, allowed: a file that can be written ({error})") from error
    return out


def render(run: Run, results: Document) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    body = "\n".join(_parts(run, results))
    style = (HERE / "style.css").read_text("utf-8")
    return PAGE.format(title=escape(f"Storelift: {run.name}"), style=style, script=get_plotlyjs(), body=body)


def _parts(run: Run, results: Document) -> list[str]:
    ink = inks(list(results["arms"]))
    of = level(results["run"])
    checks = words.health(run, results)
    parts = [
        f"<h1>{escape(run.name)}</h1>",
        markup.run_bar(run, dated=True),
        markup.health(checks),
        markup.verdict(words.verdict(run, results), words.trust(checks)),
        "<h3>Scorecard</h3>",
        scorecard.whole(card_rows.blocks(run, results), ink, results["run"]["control"], of),
    ]
    note = power_note(results)
    parts += [f"<p>{escape(note)}</p>"] if note else []
    parts += ["<h3>Beside the paper</h3>", paper.beside(results)]
    pairs = [(c["arm"], c["control"]) for c in outcome.against_control(results)]
    true = {c["arm"]: c.get("true_lift") for c in outcome.against_control(results)}
    kind = "always-valid" if outcome.early(results) else "fixed"
    lines = [
        Line(one.arm, one.days, one.values, one.bands, dotted=true.get(one.arm), name=arm_name(one.arm))
        for one in series.lines(run, results, pairs, over="cumulative", scale="relative", kind=kind)
    ]
    if lines:
        caption = "; ".join(words.lift_takeaway(c, results) for c in outcome.against_control(results))
        parts += _figure(
            "Lift over the days", figures.lifts(lines, ink, band=f"{kind} {of} interval"), caption
        )
    served = _auc(results)
    if served:
        parts += _figure(
            "AUC as served", lab_figures.measured(served, ink, y="AUC"), "Each arm on what it showed."
        )
    seen = [Line(arm, measures.days(run), users) for arm, users in measures.exposures(run).items()]
    if seen:
        parts += _figure(
            "Exposure", figures.counts(seen, ink, y="Users so far"), "Users who came at least once."
        )
    rows = card_rows.numbers(results)
    if rows:
        parts += ["<h3>Every number</h3>", markup.table(list(rows[0]), [list(row.values()) for row in rows])]
    return parts


def _auc(results: Document) -> list[Line]:
    lines = []
    for arm in results["arms"]:
        noted = [
            (day["day"], (day["arms"].get(arm) or {}).get("quality") or {}) for day in results.get("days", [])
        ]
        known = [(day, q) for day, q in noted if q.get("auc") is not None]
        bands = [tuple(q["auc_ci"]) if q.get("auc_ci") else None for _, q in known]
        if known:
            lines.append(Line(arm, [day for day, _ in known], [q["auc"] for _, q in known], bands))
    return lines


def _figure(title: str, figure: Any, caption: str) -> list[str]:
    """A figure in neither light nor dark ink, so that it is read on both."""
    quiet = "rgba(128,134,145,0.3)"
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": "#7b8494", "size": 13}
    )
    figure.update_xaxes(gridcolor=quiet, linecolor=quiet)
    figure.update_yaxes(gridcolor=quiet)
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    label = escape(caption, quote=True)
    figure_ = f'<figure aria-label="{label}">{drawn}<figcaption>{label}</figcaption></figure>'
    return [f"<h3>{escape(title)}</h3>", figure_]


def main(arguments: list[str]) -> int:
    """Writes a report; what is wrong goes to stderr in a line, with exit code 2."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m dashboard.report_html RUN OUT\n")
        return 2
    try:
        write(Path(arguments[0]), Path(arguments[1]))
    except BadInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
