"""Our Table 1 beside the paper's, never merged with it."""

from __future__ import annotations

from dashboard import results as outcome
from dashboard.reading import Document
from experiment import webpage
from experiment.reporting.text import PAPER
from experiment.words import DASH, arm_name, interval, number, percent


def beside(results: Document) -> str:
    """Offline AUC and online gain of each arm, with Cheng et al. 2016, Table 1, set apart."""
    control = results["run"]["control"]
    theirs_too = control == "wide"  # the paper's gains are over its wide model
    compared = {c["arm"]: c for c in results["comparisons"] if c["control"] == control}
    rows = []
    for arm, of in results["arms"].items():
        c, theirs = compared.get(arm), PAPER.get(arm)
        rows.append(
            [
                arm_name(arm) + (" (control)" if arm == control else ""),
                number(of.get("offline_auc")),
                percent(c["lift"]) if c else percent(0.0),
                interval(outcome.readable_ci(c, results)) if c else "",
                percent(c.get("expected_lift")) if c else percent(0.0),
                percent(c.get("true_lift")) if c else percent(0.0),
                number(theirs.auc) if theirs else DASH,
                percent(theirs.gain) if theirs and theirs_too else DASH,
            ]
        )
    kind = outcome.readable_kind(results)
    head = [
        "",
        "Offline AUC",
        "Online gain",
        kind[0].upper() + kind[1:],
        "Gain, noise taken out",
        "True gain",
    ]
    return webpage.table([*head, "AUC in the paper", "Gain in the paper"], rows, theirs=(6, 7))
