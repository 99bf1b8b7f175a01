"""The log on disk: round trips, whole files only, truth apart, read by DuckDB while it grows."""

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.log import (
    LOG_SCHEMA,
    TRUTH_SCHEMA,
    LogFormatError,
    read_log,
    read_truth,
    write_log,
    write_truth,
)
from simulator.schema import NO_APP, Log, Requests, Truth


def make_log(rng, rows, shown=10, capacity=12, explored=0.5):
    installed = rng.integers(0, 500, (rows, capacity)).astype(np.int32)
    installed[np.arange(capacity) >= rng.integers(0, capacity + 1, rows)[:, None]] = NO_APP
    small = {
        name: rng.integers(0, 8, rows).astype(np.int8)
        for name in ("hour", "device", "country", "language", "age_band", "gender")
    }
    propensities = rng.random((rows, shown)).astype(np.float32)
    propensities[rng.random(rows) >= explored] = np.nan
    requests = Requests(
        request_id=rng.integers(0, 2**63, rows).astype(np.uint64),
        user_id=rng.integers(0, 2**40, rows),
        sim_day=rng.integers(-10, 10, rows).astype(np.int32),
        installed=installed,
        apps=rng.integers(0, 500, (rows, shown)).astype(np.int32),
        **small,
    )
    log = Log(
        requests=requests,
        positions=np.tile(np.arange(shown, dtype=np.int8), (rows, 1)),
        sources=rng.integers(0, 5, (rows, shown)).astype(np.int8),
        scores=rng.normal(size=(rows, shown)).astype(np.float32),
        labels=rng.integers(0, 2, (rows, shown)).astype(np.int8),
        propensities=propensities,
        model_version=rng.choice(["wide/1", "deep/2"], rows),
    )
    truth = Truth(
        requests.request_id, rng.random((rows, shown)), rng.normal(size=(rows, shown)).astype(np.float32)
    )
    return log, truth


def _equal(a, b):
    for name, values in a.arrays().items():
        other = getattr(b, name)
        if hasattr(values, "arrays"):
            _equal(values, other)
        else:
            assert np.array_equal(values, other, equal_nan=values.dtype.kind == "f"), name
            assert values.dtype.kind == other.dtype.kind, name


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 40),
    shown=st.integers(1, 12),
    explored=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_what_is_written_is_read(tmp_path_factory, seed, rows, shown, explored):
    folder = tmp_path_factory.mktemp("log")
    log, truth = make_log(np.random.default_rng(seed), rows, shown, explored=explored)
    write_log(folder / "part-00000.parquet", log)
    write_truth(folder / "truth.parquet", truth)
    _equal(log, read_log(folder / "part-00000.parquet", 12))
    _equal(truth, read_truth(folder / "truth.parquet"))


def test_an_empty_part_round_trips(tmp_path):
    log, truth = make_log(np.random.default_rng(0), 4)
    write_log(tmp_path / "part.parquet", log.take(slice(0, 0)))
    write_truth(tmp_path / "truth.parquet", truth.take(slice(0, 0)))
    assert len(read_log(tmp_path / "part.parquet", 12)) == 0
    assert len(read_truth(tmp_path / "truth.parquet")) == 0


def test_the_log_holds_nothing_of_the_truth():
    assert not {"probabilities", "exceptions"} & set(LOG_SCHEMA.names)
    assert TRUTH_SCHEMA.names == ["request_id", "probabilities", "exceptions"]


def test_the_contract_s_columns_are_there():
    contract = (
        "request_id user_id sim_day hour device installed apps positions sources scores labels propensities "
        "model_version"
    )
    assert set(contract.split()) <= set(LOG_SCHEMA.names)


def test_duckdb_reads_a_growing_log(tmp_path):
    rng = np.random.default_rng(1)
    rows = 0
    for part in range(3):
        log, _ = make_log(rng, 20)
        write_log(tmp_path / f"log/arm=wide/day={part}/part-00000.parquet", log)
        (tmp_path / f"log/arm=wide/day={part}/.part-00001.parquet.tmp").write_bytes(b"half")
        rows += len(log)
        glob = str(tmp_path / "log/arm=*/day=*/part-*.parquet")
        query = f"select count(*), sum(list_sum(labels)), any_value(sources[1]) from '{glob}'"
        count, _, source = duckdb.sql(query).fetchall()[0]
        assert count == rows
        assert source in {"charts", "category", "releases", "related", "fill"}


def test_other_files_are_refused_by_name(tmp_path):
    log, truth = make_log(np.random.default_rng(2), 5)
    write_truth(tmp_path / "truth.parquet", truth)
    with pytest.raises(LogFormatError, match=r"truth\.parquet: got columns .*allowed are"):
        read_log(tmp_path / "truth.parquet", 12)
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(LogFormatError, match=r"cut\.parquet: got an unreadable file"):
        read_log(tmp_path / "cut.parquet", 12)
    write_log(tmp_path / "part.parquet", log)
    with pytest.raises(LogFormatError, match=r"part\.parquet: installed: got \d+ apps, allowed are 1"):
        read_log(tmp_path / "part.parquet", 1)


def changed(folder, name, make):
    """A part of six rows of ten apps in which the column `name` is what `make` makes of its lists."""
    log, _ = make_log(np.random.default_rng(3), 6, explored=1.0)
    write_log(folder / "part.parquet", log)
    table = pq.read_table(folder / "part.parquet", partitioning=None)
    column = make(table.column(name).to_pylist())
    pq.write_table(
        table.set_column(table.schema.get_field_index(name), name, column), folder / "other.parquet"
    )
    return log, folder / "other.parquet"


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        (
            "labels",
            lambda x: pa.array([r[:2] for r in x], pa.list_(pa.int8())),
            "got a row of 2 values, 10 are",
        ),
        ("scores", lambda x: pa.array([[], *x[1:]], pa.list_(pa.float32())), "got a row of 0 values, 10 are"),
        ("apps", lambda x: pa.array([*x[:-1], [1]], pa.list_(pa.int32())), "got a row of 1 values, 10 are"),
        (
            "positions",
            lambda x: pa.array([[*r, 1] for r in x], pa.list_(pa.int8())),
            "got a row of 11 values",
        ),
        ("sources", lambda x: pa.array([r[1:] for r in x]), "got a row of 9 values, 10 are allowed"),
        ("sources", lambda x: pa.array([["fill"] * 9 + ["luck"]] * 6), "got 'luck', allowed are charts, "),
        (
            "propensities",
            lambda x: pa.array([None, [0.5], *x[2:]], pa.list_(pa.float32())),
            "got a row of 1 values, 10 are allowed",
        ),
        ("labels", lambda x: pa.array(x, pa.list_(pa.int64())), "got list of int64, allowed is list of int8"),
        ("labels", lambda x: pa.array([["1"] * 10] * 6), "got list of string, allowed is list of int8"),
        ("labels", lambda x: pa.array([1] * 6, pa.int8()), "got int8, allowed is list of int8"),
        (
            "labels",
            lambda x: pa.array([[None] * 10] * 6, pa.list_(pa.int8())),
            "got 60 nulls in its lists, none",
        ),
        ("labels", lambda x: pa.array([None, *x[1:]], pa.list_(pa.int8())), "got 1 nulls, none are allowed"),
        ("installed", lambda x: pa.array([[None]] * 6, pa.list_(pa.int32())), "got 6 nulls in its lists"),
        ("propensities", lambda x: pa.array([[None] * 10] * 6, pa.list_(pa.float32())), "got 60 nulls in"),
        ("user_id", lambda x: pa.array([None, *x[1:]], pa.int64()), "got 1 nulls, none are allowed"),
        ("hour", lambda x: pa.array(x, pa.int64()), "got int64, allowed is int8"),
        ("model_version", lambda x: pa.array([1] * 6), "got int64, allowed is string"),
    ],
)
def test_a_column_that_is_not_as_it_should_be_is_refused_by_name(tmp_path, name, make, words):
    _, path = changed(tmp_path, name, make)
    with pytest.raises(LogFormatError) as error:
        read_log(path, 12)
    assert str(error.value).startswith(f"{path}: {name}: {words}")


@pytest.mark.parametrize("name", ["sources", "model_version"])
def test_strings_without_a_dictionary_are_the_same(tmp_path, name):
    log, path = changed(tmp_path, name, pa.array)
    _equal(log, read_log(path, 12))


def test_truth_s_columns_must_fit_together(tmp_path):
    _, truth = make_log(np.random.default_rng(2), 5)
    write_truth(tmp_path / "truth.parquet", truth)
    table = pq.read_table(tmp_path / "truth.parquet", partitioning=None)
    short = pa.array([row[:3] for row in table.column("exceptions").to_pylist()], pa.list_(pa.float32()))
    pq.write_table(table.set_column(2, "exceptions", short), tmp_path / "short.parquet")
    with pytest.raises(LogFormatError, match=r"exceptions: got a row of 3 values, 10 are allowed$"):
        read_truth(tmp_path / "short.parquet")
