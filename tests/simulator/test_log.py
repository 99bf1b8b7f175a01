"""The log on disk: round trips, whole files only, truth apart, read by DuckDB while it grows."""

import duckdb
import numpy as np
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
