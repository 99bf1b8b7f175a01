import time

import pytest

from dashboard import requests_shown, sql
from dashboard.reading import read
from experiment.errors import BadInput


@pytest.fixture(scope="module")
def run(shared):
    return read(shared.done)


def test_the_examples_answer(run):
    for query in sql.EXAMPLES.values():
        answer = sql.ask(run, query)
        assert answer.rows
        assert len(answer.records()[0]) == len(answer.columns)


def test_the_tables_are_those_of_the_finished_days(run):
    assert sql.sizes(run) == {
        "log": 60 * (3 + 3 * 4),
        "truth": 60 * (3 + 3 * 4),
        "user_days": sql.sizes(run)["user_days"],
    }
    assert dict(sql.schema(run)["log"])["arm"] == "string"
    (row,) = sql.ask(run, "SELECT count(*), count(DISTINCT arm), min(day), max(day) FROM log").rows
    assert row == (900, 4, -2, 3)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_blob('{file}')",
        "COPY log TO '{out}'",
        "COPY (SELECT 1) TO '{out}'",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET python_enable_replacements = true",
        "RESET enable_external_access",
        "PRAGMA enable_profiling",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "DROP VIEW log",
        "INSERT INTO log SELECT * FROM log",
        "DELETE FROM log",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY log TO '{out}'",
        "",
        "SELECT getenv('HOME')",
        "SELECT * FROM run",
        "SELECT * FROM tables",
        "SELECT nonsense FROM log",
        "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
        "SELECT * FROM query('COPY log TO ''{out}''')",
        "SELECT * FROM query_table('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM parquet_metadata('{file}')",
    ],
)
def test_nothing_outside_is_read_or_written(run, tmp_path, query):
    out = tmp_path / "out"
    file = next((run.path / "metrics" / "user_days").glob("*.parquet"))
    before = sorted(path.name for path in run.path.rglob("*"))
    with pytest.raises(BadInput, match="query: "):
        sql.ask(run, query.format(out=out, file=file))
    assert not out.exists()
    assert sorted(path.name for path in run.path.rglob("*")) == before


def test_columns_of_one_name_are_told_apart(run):
    answer = sql.ask(run, 'SELECT 1 AS a, 2 AS "a (2)", 3 AS a, 4 AS a')
    assert answer.records() == [{"a": 1, "a (2)": 2, "a (3)": 3, "a (4)": 4}]


def test_time_is_limited(run):
    began = time.perf_counter()
    with pytest.raises(BadInput, match=r"more than 0\.5 s"):
        sql.ask(run, "SELECT count(*) FROM range(100000000) a, range(100000) b", seconds=0.5)
    assert time.perf_counter() - began < 5


def test_rows_are_limited(run):
    answer = sql.ask(run, "SELECT * FROM range(100)", rows=10)
    assert len(answer.rows) == 10
    assert answer.cut
    assert not sql.ask(run, "SELECT * FROM range(10)", rows=10).cut


def test_memory_is_limited(run):
    with pytest.raises(BadInput, match="query: "):
        sql.ask(run, "SELECT list(a.range) FROM range(400000000) a", seconds=20)


def test_a_run_without_data_has_no_tables(shared):
    empty = read(shared.bare)
    assert sql.schema(empty) in ({}, {"user_days": sql.schema(empty).get("user_days")})
    with pytest.raises(BadInput, match="query: "):
        sql.ask(empty, "SELECT * FROM log")


def test_a_request_has_the_truth_beside_it(run):
    listed = requests_shown.listed(run, "deep", 2)
    one = requests_shown.request(run, "deep", 2, listed[0]["request"])
    assert len(one.shown) == 4
    assert sum(row["acquired"] for row in one.shown) == listed[0]["acquired"]
    assert all(row["true chance"] == pytest.approx(row["predicted"], abs=1e-6) for row in one.shown)
    assert one.installed == [3, 4]
    assert one.model == "deep/2"
    assert requests_shown.request(run, "deep", 2, "1") is None
    assert requests_shown.listed(run, "nobody", 2) == []
