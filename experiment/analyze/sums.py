"""Sums over the users of a DuckDB view, exact, and the sufficient statistics made of them.

The view `clean` has a row for each row of the file: user_id, code (of the arm), x, y, px, py as BIGINT,
look (the day), and a column `by NAME` per dimension. Sums of products are integers, so that counts of any
size lose nothing on the way to centred moments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import duckdb
import numpy as np

from experiment.errors import BadInput
from experiment.stats.moments import Moments, stack
from experiment.stats.results import Day

PRE = ("px", "py")
"""Columns that are attributes of the user where there are days."""

Row = tuple[Any, ...]
Connection = duckdb.DuckDBPyConnection
Cells = dict[tuple[int, str | None], tuple[Moments, Moments]]


def totals(
    con: Connection,
    aliases: Mapping[str, str],
    *,
    days: bool,
    by: str | None = None,
    single: bool = False,
) -> Cells:
    """Moments of the users' totals, and those of the share with an acquisition, by arm code and segment.

    Args:
        con: with the view `clean`.
        aliases: the file's columns by their names in the view: x, y and perhaps px, py.
        days: whether rows are user-days: px and py are attributes of the user then, and not added.
        by: the dimension; None for one segment, None.
        single: whether each user is known to have one row: grouping by user is spared then.

    Raises:
        BadInput: for a user in two arms or with two values of an attribute.
    """
    wide = _wide(con, aliases)
    fixed = ["code", *(PRE if days and "px" in aliases else ()), *([quoted("by " + by)] if by else [])]
    value = quoted("by " + by) if by else "NULL"
    if single:
        counts = ", ".join(f"{c}::{wide} AS {c}" for c in aliases)
        users = f"SELECT code, {value} AS value, false AS clash, {counts} FROM clean"
    else:
        counts = ", ".join(f"{_whole(c, days=days)}::{wide} AS {c}" for c in aliases)
        clash = " OR ".join(f"min({c}) <> max({c})" for c in fixed)
        users = (
            f"SELECT min(code) AS code, min({value}) AS value, {clash} AS clash, {counts}"
            " FROM clean GROUP BY user_id"
        )
    sums = [f"sum({c})" for c in aliases] + [f"sum({a} * {b})" for a, b in _pairs(aliases)]
    found = con.execute(
        "SELECT code, value, count(*) FILTER (clash), count(*), count(*) FILTER (x > 0),"
        f" {', '.join(sums)} FROM ({users}) GROUP BY code, value"
    ).fetchall()
    if any(clashes for _, _, clashes, *_ in found):
        _refuse_user(con, fixed, {"code": "arm", **aliases})
    return {
        (int(code), value): (_moments(n, rest, len(aliases)), _moments(n, [hits, n, hits, hits, n], 2))
        for code, value, _, n, hits, *rest in found
    }


def looks(con: Connection, aliases: Mapping[str, str], codes: int) -> tuple[list[Day], list[Moments]]:
    """The days, and for each arm code the moments of its users' totals up to each day, [days].

    A user's product of totals grows by (X + x)(Y + y) - X Y on a day that adds x and y to X and Y; the
    pre-period's counts enter on the user's first day. Rows are user-days; several rows of a user and day are
    added.
    """
    wide = _wide(con, aliases)
    daily = ", ".join(f"{_whole(c, days=True)}::{wide} AS {c}" for c in aliases)
    before = ", ".join(
        f"CASE WHEN first THEN 0 ELSE {c} END AS old_{c}"
        if c in PRE
        else f"(total_{c}::{wide} - {c}) AS old_{c}"
        for c in aliases
    )
    added = ", ".join(f"CASE WHEN first THEN {c} ELSE 0 END AS {c}" if c in PRE else c for c in aliases)
    running_sums = ", ".join(f"sum({c}) OVER w AS total_{c}" for c in aliases if c not in PRE)
    sums = [f"sum({c})" for c in aliases]
    sums += [f"sum({a} * old_{b} + old_{a} * {b} + {a} * {b})" for a, b in _pairs(aliases)]
    found = con.execute(
        f"WITH daily AS (SELECT user_id, look, min(code) AS code, {daily} FROM clean GROUP BY user_id, look),"
        f" seen AS (SELECT *, count(*) OVER w = 1 AS first, {running_sums} FROM daily"
        " WINDOW w AS (PARTITION BY user_id ORDER BY look ROWS UNBOUNDED PRECEDING)),"
        f" steps AS (SELECT code, look, first, {before}, {added} FROM seen)"
        f" SELECT code, look, count(*) FILTER (first), {', '.join(sums)} FROM steps"
        " GROUP BY code, look"
    ).fetchall()
    days = sorted({look for _, look, *_ in found})
    steps_of = {(int(code), look): rest for code, look, *rest in found}
    arms = []
    for code in range(codes):
        running = [0] * (1 + len(sums))
        cells = []
        for day in days:
            step = steps_of.get((code, day), [0] * len(running))
            running = [have + int(more) for have, more in zip(running, step, strict=True)]
            cells.append(_moments(running[0], running[1:], len(aliases)))
        arms.append(stack(cells))
    return [day if isinstance(day, int) else day.isoformat() for day in days], arms


def _refuse_user(con: Connection, fixed: Sequence[str], labels: Mapping[str, str]) -> None:
    """Raises BadInput for the first user with two values of one of the columns."""
    for column in fixed:
        found = con.execute(
            f"SELECT user_id, min({column}), max({column}) FROM clean GROUP BY user_id"
            f" HAVING min({column}) <> max({column}) ORDER BY user_id LIMIT 1"
        ).fetchone()
        if found is None:
            continue
        user, first, second = found
        if column == "code":
            first, second = (one(con, f"SELECT arm FROM arms WHERE code = {c}")[0] for c in (first, second))
        shown = labels.get(column, column.removeprefix('"by ').removesuffix('"'))
        raise BadInput(f"{shown}: got {first} and {second} for user {user}, one value per user is allowed")


def _whole(alias: str, *, days: bool) -> str:
    """SQL of a user's total: attributes are taken once."""
    return f"min({alias})" if days and alias in PRE else f"sum({alias})"


def _wide(con: Connection, aliases: Mapping[str, str]) -> str:
    """The integer type in which products of users' totals are exact."""
    largest = one(con, f"SELECT {', '.join(f'sum({c})' for c in aliases)} FROM clean")
    return "BIGINT" if max(int(v) for v in largest) < 2_000_000_000 else "HUGEINT"


def _pairs(aliases: Mapping[str, str]) -> list[tuple[str, str]]:
    return list(combinations_with_replacement(aliases, 2))


def _moments(n: int, sums: Sequence[int], width: int) -> Moments:
    """Centred moments from exact integers: totals, then products of the upper triangle."""
    n, totals = int(n), [int(s) for s in sums[:width]]
    scatter = np.zeros((width, width))
    products = iter(sums[width:])
    for i in range(width):
        for j in range(i, width):
            exact = n * int(next(products)) - totals[i] * totals[j]
            scatter[i, j] = scatter[j, i] = exact / n if n else 0.0
    return Moments(np.array(float(n)), np.array(totals, dtype=np.float64), scatter)


def one(con: Connection, query: str) -> Row:
    """The one row of a query."""
    row = con.execute(query).fetchone()
    assert row is not None
    return tuple(row)


def literal(value: str) -> str:
    """A SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def quoted(column: str) -> str:
    """A quoted SQL name."""
    return '"' + column.replace('"', '""') + '"'
