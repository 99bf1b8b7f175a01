"""Reading users' counts from CSV or Parquet down to sufficient statistics, and refusing what makes no sense.

A row that cannot be true is refused by name, or with `set_apart` its user is left out whole: half a user
would bias the arm.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from experiment.analyze.rows import Columns, check_rows, is_integer, is_number, refuse
from experiment.analyze.sums import Connection, literal, looks, one, quoted, totals
from experiment.errors import BadInput
from experiment.stats.moments import Moments
from experiment.stats.results import Day

MANY_ARMS, MANY_SEGMENTS = 100, 1000
"""More values than these are a wrong column."""

MISSING = "(missing)"
"""The segment of users without a value."""


@dataclass(frozen=True, slots=True)
class UserData:
    """What the file holds, as sufficient statistics.

    Attributes:
        rows: rows of the file.
        excluded: rows set apart, by reason; empty unless `set_apart`.
        days: the days in order; None without a column `day`.
        arms: by name; looks [days] that accumulate where there are days, else one cell. K = 4 where the file
            has pre-period columns.
        acquirers: by name, of the share of users with an acquisition (x = 0 or 1, y = 1): one cell, the whole
            window.
        segments: by dimension and value, then by arm: one cell each.
    """

    rows: int
    excluded: dict[str, int]
    days: list[Day] | None
    arms: dict[str, Moments]
    acquirers: dict[str, Moments]
    segments: dict[tuple[str, str], dict[str, Moments]]


def read_users(path: Path, *, by: Sequence[str] = (), set_apart: bool = False) -> UserData:
    """The statistics of a file with one row per user, or per user and day.

    Args:
        path: CSV with commas and a header, or Parquet. Columns: `user_id`, `arm`, `impressions`, and
            `installs` or `acquisitions`; optional `pre_impressions` with `pre_installs` or
            `pre_acquisitions`; optional `day` (whole numbers or dates). Without `day` a user's rows are
            added; with it pre_* are attributes of the user.
        by: other columns, attributes of the user, for segments.
        set_apart: leave out users with bad rows and count them, in place of refusing the file.

    Raises:
        BadInput: naming the column, row or user, what was got and what is allowed.
    """
    with _connection() as con:
        try:
            return _read(con, path, by, set_apart=set_apart)
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException):
            raise  # of our own SQL
        except duckdb.Error as error:
            cause = str(error).strip().splitlines()[0]
            raise BadInput(f"{path.name}: got {cause}; a CSV or Parquet file is allowed") from error


@contextmanager
def _connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that spills to disk before it takes 2 GiB."""
    with tempfile.TemporaryDirectory(prefix="storelift-") as folder, duckdb.connect() as con:
        con.execute(f"SET temp_directory = {literal(folder)}")
        con.execute("SET memory_limit = '1200MB'")
        con.execute(f"SET threads = {min(4, os.cpu_count() or 1)}")
        yield con


def _read(con: Connection, path: Path, by: Sequence[str], *, set_apart: bool) -> UserData:
    _open(con, path)
    columns = _columns(con, by)
    rows = int(one(con, "SELECT count(*) FROM raw")[0])
    if rows == 0:
        raise BadInput(f"{path.name}: got no rows, at least one is allowed")
    day = _day_expression(con, columns, set_apart=set_apart)
    excluded = check_rows(con, columns, day, set_apart=set_apart)
    _make_clean(con, columns, day, excluded, by)
    names = _arm_names(con)
    whole = totals(con, columns.counts, days=day is not None)
    days: list[Day] | None = None
    cells = [whole[code, None][0] for code in range(len(names))]
    if day is not None:
        days, cells = looks(con, columns.counts, len(names))
    segments: dict[tuple[str, str], dict[str, Moments]] = {}
    single = sum(float(cell.n) for cell, _ in whole.values()) == rows - sum(excluded.values())
    nobody = Moments.empty(pre=columns.px is not None)
    for dimension in by:
        count = one(con, f"SELECT count(DISTINCT {quoted('by ' + dimension)}) FROM clean")[0]
        if count > MANY_SEGMENTS:
            raise BadInput(f"by: got {count} values of {dimension}, at most {MANY_SEGMENTS} are allowed")
        found = totals(con, columns.counts, days=day is not None, by=dimension, single=single)
        for value in sorted({str(value) for _, value in found}):
            segments[dimension, value] = {
                arm: found[code, value][0] if (code, value) in found else nobody
                for code, arm in enumerate(names)
            }
    return UserData(
        rows=rows,
        excluded=excluded,
        days=days,
        arms=dict(zip(names, cells, strict=True)),
        acquirers={arm: whole[code, None][1] for code, arm in enumerate(names)},
        segments=segments,
    )


def _open(con: Connection, path: Path) -> None:
    """Makes the view `raw` of the file."""
    if not path.is_file():
        raise BadInput(f"{path}: got no such file, a CSV or Parquet file is allowed")
    kind = path.suffix.lower()
    if kind not in {".csv", ".parquet"}:
        raise BadInput(f"{path.name}: got a file ending in {kind!r}, .csv and .parquet are allowed")
    if path.stat().st_size == 0:
        raise BadInput(f"{path.name}: got an empty file, a header and at least one row are allowed")
    pattern = "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
    reader = (
        f"read_parquet({literal(pattern)})"
        if kind == ".parquet"
        else f"read_csv({literal(pattern)}, all_varchar = true, header = true, delim = ',', quote = '\"')"
    )
    con.execute(f"CREATE VIEW raw AS SELECT * FROM {reader}")


def _columns(con: Connection, by: Sequence[str]) -> Columns:
    """The columns by role, with names and types checked."""
    types = {str(name): str(kind) for name, kind, *_ in con.execute("DESCRIBE raw").fetchall()}
    got = ", ".join(types)
    for name in ("user_id", "arm", "impressions"):
        if name not in types:
            raise BadInput(f"{name}: got no such column in {got}; it is needed")
    x = _either(types, "installs", "acquisitions")
    if x is None:
        raise BadInput(f"installs: got no such column in {got}; it, or acquisitions, is needed")
    px, py = _either(types, "pre_installs", "pre_acquisitions"), "pre_impressions"
    if (px is None) != (py not in types):
        there, missing = (px, py) if px else (py, "pre_installs")
        raise BadInput(f"{missing}: got no such column beside {there}; both or neither are allowed")
    for name in [x, "impressions", *([px, py] if px else [])]:
        if not is_number(types[name]) and types[name] != "VARCHAR":
            raise BadInput(f"{name}: got type {types[name]}, whole numbers are allowed")
    if types["user_id"] in {"FLOAT", "DOUBLE", "BOOLEAN"}:
        raise BadInput(f"user_id: got type {types['user_id']}, whole numbers or text are allowed")
    used = {"user_id", "arm", "impressions", "day", x, px, py}
    for name in by:
        if name not in types or name in used:
            free = ", ".join(c for c in types if c not in used) or "none in this file"
            raise BadInput(f"by: got {name!r}, one of the other columns is allowed ({free})")
    return Columns(
        x=x,
        y="impressions",
        px=px,
        py=py if px else None,
        has_day="day" in types,
        types=types,
    )


def _either(types: dict[str, str], first: str, second: str) -> str | None:
    if first in types and second in types:
        raise BadInput(f"{first}, {second}: got both columns, one of them is allowed")
    return first if first in types else second if second in types else None


def _day_expression(con: Connection, columns: Columns, *, set_apart: bool) -> str | None:
    """SQL of the day, a BIGINT or a DATE; None without days."""
    if not columns.has_day:
        return None
    kind = columns.types["day"]
    if is_integer(kind):
        return "TRY_CAST(day AS BIGINT)"
    if kind == "DATE":
        return "day"
    if kind != "VARCHAR":
        raise BadInput(f"day: got type {kind}, whole numbers or dates are allowed")
    numbers, dates = one(con, "SELECT count(TRY_CAST(day AS BIGINT)), count(TRY_CAST(day AS DATE)) FROM raw")
    expression = "TRY_CAST(day AS BIGINT)" if numbers >= dates else "TRY_CAST(day AS DATE)"
    bad = f"day IS NOT NULL AND {expression} IS NULL"
    if not set_apart and one(con, f"SELECT count(*) FROM raw WHERE {bad}")[0]:
        refuse(con, "day", bad, "whole numbers or dates are allowed")
    return expression


def _make_clean(
    con: Connection,
    columns: Columns,
    day: str | None,
    excluded: dict[str, int],
    by: Sequence[str],
) -> None:
    """Makes the table `arms` and the view `clean`: user_id, code, counts as BIGINT, day and dimensions."""
    kept = (
        " WHERE user_id NOT IN (FROM apart WHERE user_id IS NOT NULL) AND user_id IS NOT NULL"
        if excluded
        else ""
    )
    con.execute(f"CREATE VIEW kept AS SELECT * FROM raw{kept}")
    con.execute(
        "CREATE TEMP TABLE arms AS SELECT arm, (row_number() OVER (ORDER BY arm) - 1)::SMALLINT AS code"
        " FROM (SELECT DISTINCT arm::VARCHAR AS arm FROM kept)"
    )
    fields = ["kept.user_id", "arms.code"]
    for alias, column in columns.counts.items():
        source = (
            f"TRY_CAST(kept.{column} AS DOUBLE)" if columns.types[column] == "VARCHAR" else f"kept.{column}"
        )
        fields.append(f"TRY_CAST({source} AS BIGINT) AS {alias}")
    if day:
        fields.append(f"{day} AS look")
    fields += [f"coalesce(kept.{quoted(c)}::VARCHAR, {literal(MISSING)}) AS {quoted('by ' + c)}" for c in by]
    con.execute(
        f"CREATE VIEW clean AS SELECT {', '.join(fields)} FROM kept JOIN arms ON kept.arm::VARCHAR = arms.arm"
    )


def _arm_names(con: Connection) -> list[str]:
    names = [str(arm) for (arm,) in con.execute("SELECT arm FROM arms ORDER BY code").fetchall()]
    if not names:
        raise BadInput("rows: got none that is not set apart, at least one is allowed")
    if len(names) > MANY_ARMS:
        raise BadInput(f"arm: got {len(names)} values, at most {MANY_ARMS} are allowed")
    return names
