"""The world's measures in words, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiment.words import DASH

HEADS = ("", "size", "effective\nrank", "for 90%\nof variance", "left by\n16 dims", "32", "64", "128")
NAMES = {
    "smooth": "Smooth taste",
    "whole": "With exceptions",
    "exceptions": "R, sampled rows",
}
"""Spectra by name, as people read them; R is the matrix of exceptions."""


def of(document: Mapping[str, Any]) -> str:
    """Of what world the measures are."""
    sample = f"{document['users']:,} users x {document['apps']:,} apps"
    return f"seed {document['seed']}, day {document['day']}: {sample}"


def rows(document: Mapping[str, Any]) -> list[list[str]]:
    """A row per spectrum, see `HEADS`, and one of the whole R; dashes where there is none."""
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
    whole = document.get("left_of_r")
    if whole is not None:
        left = [f"{whole[d]:.1%}" for d in ("16", "32", "64", "128")]
        lines.append(["R, the whole", f"{document['catalogue']:,}", DASH, DASH, *left])
    return lines


def embedding(document: Mapping[str, Any], dimensions: int = 32) -> str | None:
    """What the best embedding leaves of R, or else of its sampled rows; None without exceptions."""
    whole, sampled = document.get("left_of_r"), document["spectra"].get("exceptions")
    begin = f"The best embedding of {dimensions} dimensions leaves "
    if whole is not None:
        return f"{begin}{whole[str(dimensions)]:.0%} of R."
    return None if sampled is None else f"{begin}{sampled['left'][str(dimensions)]:.0%} of R's sampled rows."


def findings(document: Mapping[str, Any]) -> list[str]:
    """How sparse the preferences are, how they vary, what grows with the sample, and what the whole R is."""
    sparse, variance, rank = document["sparsity"], document["variance"], document["rank_of_r"]
    held = (
        f"An exception holds for {sparse['pairs_with_exception']:.2%} of pairs of a user and an app, "
        f"{sparse['apps_with_exception_per_user']:,.0f} apps of a user; {sparse['cells_of_r']:.3%} of "
        "the cells of R, the exceptions by app shown and app installed, are not 0."
    )
    parts = (
        f"Variances, not shares, of the log odds less the means of user and app: {variance['smooth']:.2f} of "
        f"smooth taste, {variance['exceptions']:.2f} of exceptions, {variance['whole']:.2f} of both together."
    )
    lines = [held, parts]
    half, both = document.get("half"), document["spectra"]["whole"]
    if document["spectra"]["exceptions"] and both and half and half["effective_rank"]:
        grows = " and grows with it" if half["effective_rank"] < both["effective_rank"] else ""
        lines.append(
            f"Effective rank is of the sample{grows}: with exceptions {both['effective_rank']:,.1f} of "
            f"{document['users']:,} users x {document['apps']:,} apps, {half['effective_rank']:,.1f} of "
            f"{half['users']:,} x {half['apps']:,} of them."
        )
    if rank is not None:
        lines.append(f"The whole R has rank {rank:,} of {document['catalogue']:,}.")
    left = embedding(document)
    if left is not None:
        lines.append(left)
    if left is not None and "left_of_r" in document and document["left_of_r"] is None:
        lines.append(f"Of {document['catalogue']:,} apps the whole R is too large to be taken apart.")
    return lines
