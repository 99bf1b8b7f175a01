"""Rows that cannot be true: found by DuckDB, refused by name or set apart with all rows of their users."""

from __future__ import annotations

from dataclasses import dataclass

from experiment.analyze.sums import Connection, literal, one
from experiment.errors import BadInput

LARGEST = 10**12
"""The largest count of a row; products of counts stay exact in 128 bits."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The file's columns by role, under the file's names.

    Attributes:
        x: of the acquisitions.
        y: of the impressions.
        px: of the pre-period's acquisitions; None without it.
        py: of the pre-period's impressions; None without it.
        has_day: whether rows are user-days.
        types: DuckDB's type of each column of the file.
    """

    x: str
    y: str
    px: str | None
    py: str | None
    has_day: bool
    types: dict[str, str]

    @property
    def counts(self) -> dict[str, str]:
        """The columns of counts by their names in the view `clean`."""
        roles = {"x": self.x, "y": self.y, "px": self.px, "py": self.py}
        return {role: column for role, column in roles.items() if column is not None}


def check_rows(con: Connection, columns: Columns, day: str | None, *, set_apart: bool) -> dict[str, int]:
    """Refuses the first bad row, or makes the table `apart` of bad users and counts rows by reason."""
    reasons = _reasons(columns, day)
    tests = ", ".join(f"coalesce(bool_or({condition}), false)" for _, _, condition, _ in reasons)
    found = one(con, f"SELECT {tests} FROM raw")
    if not any(found):
        return {}
    if not set_apart:
        column, condition, allowed = next(
            (column, condition, allowed)
            for (column, _, condition, allowed), hit in zip(reasons, found, strict=True)
            if hit
        )
        refuse(con, column, condition, allowed)
    cases = " ".join(f"WHEN {condition} THEN {literal(reason)}" for _, reason, condition, _ in reasons)
    con.execute(f'CREATE VIEW judged AS SELECT *, CASE {cases} END AS "its reason" FROM raw')
    con.execute(
        'CREATE TEMP TABLE apart AS SELECT DISTINCT user_id FROM judged WHERE "its reason" IS NOT NULL'
    )
    others = "other rows of users set apart"
    return {
        str(reason): int(count)
        for reason, count in con.execute(
            f'SELECT coalesce("its reason", {literal(others)}) AS why, count(*) FROM judged'
            ' WHERE "its reason" IS NOT NULL OR user_id IN (FROM apart WHERE user_id IS NOT NULL)'
            " GROUP BY why ORDER BY why"
        ).fetchall()
    }


def _reasons(columns: Columns, day: str | None) -> list[tuple[str, str, str, str]]:
    """What can be wrong with a row: column, reason, SQL condition, what is allowed."""
    allowed = "whole numbers from 0 to 1e12 are allowed"
    reasons = [
        (
            name,
            f"{name} missing",
            f"({name} IS NULL OR {name}::VARCHAR = '')",
            "a value in each row is allowed",
        )
        for name in ("user_id", "arm")
    ]
    if day:
        reasons.append(("day", "day missing", f"({day}) IS NULL", "a value in each row is allowed"))
    for name in columns.counts.values():
        kind = columns.types[name]
        number = f"TRY_CAST({name} AS DOUBLE)" if kind == "VARCHAR" else name
        reasons.append((name, f"{name} missing", f"{name} IS NULL", allowed))
        if kind == "VARCHAR":
            reasons.append(
                (name, f"{name} not a number", f"{name} IS NOT NULL AND {number} IS NULL", allowed)
            )
        if kind in {"VARCHAR", "DOUBLE", "FLOAT"}:
            reasons.append((name, f"{name} not a number", f"NOT isfinite({number})", allowed))
        reasons.append((name, f"{name} negative", f"{number} < 0", allowed))
        if not is_integer(kind):
            reasons.append(
                (
                    name,
                    f"{name} not whole",
                    f"isfinite({number}::DOUBLE) AND {number} <> floor({number})",
                    allowed,
                )
            )
        reasons.append((name, f"{name} too large", f"{number} > {LARGEST}", allowed))
    for top, bottom in ((columns.x, columns.y), (columns.px, columns.py)):
        if top and bottom:
            more = f"TRY_CAST({top} AS DOUBLE) > TRY_CAST({bottom} AS DOUBLE)"
            reasons.append((top, f"{top} above {bottom}", more, f"at most the row's {bottom} is allowed"))
    return reasons


def refuse(con: Connection, column: str, condition: str, allowed: str) -> None:
    """Raises BadInput that names the first row of `condition`."""
    row, user, value = one(
        con,
        f'SELECT "its row", user_id, {column} FROM (SELECT row_number() OVER () AS "its row", * FROM raw)'
        f' WHERE {condition} ORDER BY "its row" LIMIT 1',
    )
    shown = "nothing" if value is None or value == "" else value
    raise BadInput(f"{column}: got {shown} in row {row} (user {user}), {allowed}")


def is_integer(kind: str) -> bool:
    """Whether DuckDB's type holds whole numbers."""
    return kind.removeprefix("U") in {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}


def is_number(kind: str) -> bool:
    """Whether DuckDB's type holds numbers."""
    return is_integer(kind) or kind in {"FLOAT", "DOUBLE"} or kind.startswith("DECIMAL")
