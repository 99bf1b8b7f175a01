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
from dashboard.reading import Document, Run
from experiment import webpage
from experiment.errors import BadInput
from experiment.folder import atomic
from experiment.palette import inks
from experiment.reporting.text import level, power_note
from experiment.words import arm_name

HERE = Path(__file__).parent


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
    style = (HERE / "style.css").read_text("utf-8") + ".health, .verdict { margin: .9rem 0; }"
    return webpage.page(f"Storelift: {run.name}", _parts(run, results), style)


def _parts(run: Run, results: Document) -> list[str]:
    ink = inks(list(results["arms"]))
    of = level(results["run"])
    checks = words.health(run, results)
    parts = [
        f"<h1>{escape(run.name)}</h1>",
        markup.run_bar(run, dated=True),
        markup.health(checks),
        markup.verdict(words.verdict(run, results), words.trust(checks)),
        webpage.heading("Scorecard"),
        scorecard.whole(card_rows.blocks(run, results), ink, results["run"]["control"], of),
    ]
    note = power_note(results)
    parts += [f"<p>{escape(note)}</p>"] if note else []
    parts += [webpage.heading("Beside the paper"), paper.beside(results)]
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
        parts += [
            webpage.heading("Every number"),
            webpage.table(list(rows[0]), [list(row.values()) for row in rows]),
        ]
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
    return [webpage.heading(title), webpage.figure(figure, caption)]


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
