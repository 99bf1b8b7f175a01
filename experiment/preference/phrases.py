"""The world's measures in words, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiment.words import DASH

HEADS = ("", "size", "effective\nrank", "for 90%\nof variance", "left by\n16 dims", "32", "64", "128")
NAMES = {
    "smooth": "Smooth taste",
    "whole": "With the exceptions",
    "exceptions": "Exceptions alone",
}
"""Spectra by name, as people read them."""


def of(document: Mapping[str, Any]) -> str:
    """Of what world the measures are."""
    sample = f"{document['users']:,} users x {document['apps']:,} apps"
    return f"seed {document['seed']}, day {document['day']}: {sample}"


def rows(document: Mapping[str, Any]) -> list[list[str]]:
    """A row per spectrum, see `HEADS`; dashes where there is none."""
    lines = []
    for name, words in NAMES.items():
        found = document["spectra"][name]
        if found is None:
            lines.append([words, *[DASH] * (len(HEADS) - 1)])
            continue
        left = [f"{found['left'][d]:.1%}" for d in ("16", "32", "64", "128")]
        lines.append(
            [words, f"{found['size']:,}", f"{found['effective_rank']:,.1f}", f"{found['rank_90']:,}", *left]
        )
    return lines


def findings(document: Mapping[str, Any]) -> list[str]:
    """How sparse the preferences are, how much of them the exceptions make up, and the whole rank."""
    sparse, variance, rank = document["sparsity"], document["variance"], document["rank_of_r"]
    held = (
        f"An exception holds for {sparse['pairs_with_exception']:.2%} of pairs of a user and an app, "
        f"{sparse['apps_with_exception_per_user']:,.0f} apps of a user; {sparse['cells_of_r']:.3%} of "
        "the cells of R are not 0."
    )
    parts = (
        f"Variance (log odds less the means of user and app): {variance['smooth']:.2f} of smooth taste, "
        f"{variance['exceptions']:.2f} of exceptions."
    )
    lines = [held, parts]
    if rank is not None:
        lines.append(f"The whole R has rank {rank:,} of {document['catalogue']:,}.")
    return lines
