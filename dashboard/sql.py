"""Questions to a run's tables in SQL: read-only, in memory, without access to any file, within limits.

DuckDB never sees a path: the tables are handed to it as Arrow datasets of the finished days, file access is
off for good, and one statement that is a SELECT is all that runs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard import diaries
from dashboard.reading import Run
from experiment.errors import BadInput

ROWS, SECONDS, MEMORY = 1000, 10.0, "1GB"
"""Limits of an answer: rows shown, time taken, memory used."""

TABLES = {
    "log": "What was observed: a row per request, lists for what is per shown app.",
    "truth": "What only the simulator knows of the same requests: chances and exceptions.",
    "user_days": "Counts per user and day, the input of the statistics.",
}

EXAMPLES = {
    "Impressions and acquisitions by arm and day": (
        "SELECT arm, sim_day, sum(len(labels)) AS impressions, sum(list_sum(labels)) AS acquisitions\n"
        "FROM log GROUP BY ALL ORDER BY sim_day, arm"
    ),
    "Where the shown apps came from": (
        "SELECT arm, source, count(*) AS shown\n"
        "FROM (SELECT arm, unnest(sources)::VARCHAR AS source FROM log) GROUP BY ALL ORDER BY arm, shown DESC"
    ),
    "Acquisition rate by position": (
        "SELECT arm, position, avg(label) AS rate\n"
        "FROM (SELECT arm, unnest(positions) AS position, unnest(labels) AS label FROM log)\n"
        "GROUP BY ALL ORDER BY position, arm"
    ),
    "Chances where an installed app decides": (
        "SELECT arm, exception <> 0 AS exceptional, count(*) AS shown, avg(chance) AS chance\n"
        "FROM (SELECT arm, unnest(exceptions) AS exception, unnest(probabilities) AS chance FROM truth)\n"
        "GROUP BY ALL ORDER BY arm, exceptional"
    ),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that a query gave.

    Attributes:
        columns: names. rows: at most `ROWS` of them. cut: whether there were more.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    cut: bool

    def records(self) -> list[dict[str, Any]]:
        """The rows by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def ask(run: Run, query: str, *, rows: int = ROWS, seconds: float = SECONDS) -> Answer:
    """The answer to `query` over the finished days of `run`.

    Raises:
        BadInput: it is not one SELECT, is wrong, or takes longer than the limits.
    """
    import duckdb

    with duckdb.connect(":memory:", config=_settings()) as database:
        for name, table in _tables(run).items():
            database.register(name, table)
        _seal(database)
        statement = _only_select(database, query)
        clock = threading.Timer(seconds, database.interrupt)
        clock.start()
        try:
            relation = database.execute(statement)
            columns = _told_apart([column[0] for column in relation.description or []])
            found = relation.fetchmany(rows + 1)
        except duckdb.InterruptException as error:
            raise BadInput(f"query: got one of more than {seconds:g} s, allowed: a faster one") from error
        except duckdb.Error as error:
            raise BadInput(f"query: {str(error).strip()}") from error
        finally:
            clock.cancel()
    return Answer(columns, found[:rows], len(found) > rows)


def _told_apart(names: Sequence[str]) -> list[str]:
    """The names, numbered where they repeat: a row by name would lose a column."""
    found: list[str] = []
    for name in names:
        one, times = name, 1
        while one in found:
            times += 1
            one = f"{name} ({times})"
        found.append(one)
    return found


def _settings() -> dict[str, Any]:
    return {
        "enable_external_access": "false",
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "memory_limit": MEMORY,
        "threads": 2,
        "temp_directory": "",
    }


def _seal(database: Any) -> None:
    database.execute("SET python_enable_replacements = false")
    database.execute("SET lock_configuration = true")


def _only_select(database: Any, query: str) -> Any:
    import duckdb

    try:
        statements = database.extract_statements(query)
    except duckdb.Error as error:
        raise BadInput(f"query: {str(error).strip()}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(str(one.type).rpartition(".")[2] for one in statements) or "nothing"
        raise BadInput(f"query: got {kinds}, allowed: one SELECT")
    return statements[0]


def _tables(run: Run) -> dict[str, Any]:
    """The run's tables, of files that are as they were written; one without any data is left out."""
    files = {
        kind: [
            file for arm, day in diaries.log_days(run, kind) for file in diaries.parts(run, kind, arm, day)
        ]
        for kind in ("log", "truth")
    }
    files["user_days"] = [one.path for one in diaries.days_of(run.key, "user_days", "parquet")]
    return {name: _dataset(own, run) for name, own in files.items() if own}


def _dataset(files: Sequence[Path], run: Run) -> Any:
    import pyarrow as pa
    import pyarrow.dataset as ds

    hive = ds.partitioning(pa.schema([("arm", pa.string()), ("day", pa.int32())]), flavor="hive")
    return ds.dataset(
        [str(file) for file in files],
        format="parquet",
        partitioning=hive if "arm=" in files[0].as_posix() else None,
        partition_base_dir=str(run.path),
    )


def schema(run: Run) -> dict[str, list[tuple[str, str]]]:
    """(column, kind) of each table that the run has."""
    return {name: [(f.name, str(f.type)) for f in table.schema] for name, table in _tables(run).items()}


def sizes(run: Run) -> dict[str, int]:
    """Rows of each table that the run has, from the files' footers."""
    return {name: table.count_rows() for name, table in _tables(run).items()}
