"""The log on disk: Parquet parts, one row per request; what was observed and the truth in files of their own.

A part is written beside itself and renamed, so a reader of a growing log (DuckDB's glob, say) never sees a
half-written file, and it never changes afterwards.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simulator.schema import NO_APP, Array, Log, Requests, Source, Truth

_NAMES = pa.array([source.name.lower() for source in Source], pa.string())
_TEXT = pa.dictionary(pa.int8(), pa.string())

LOG_SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.uint64(), nullable=False),
        pa.field("user_id", pa.int64(), nullable=False),
        pa.field("sim_day", pa.int32(), nullable=False),
        pa.field("hour", pa.int8(), nullable=False),
        pa.field("device", pa.int8(), nullable=False),
        pa.field("country", pa.int8(), nullable=False),
        pa.field("language", pa.int8(), nullable=False),
        pa.field("age_band", pa.int8(), nullable=False),
        pa.field("gender", pa.int8(), nullable=False),
        pa.field("installed", pa.list_(pa.int32()), nullable=False),
        pa.field("apps", pa.list_(pa.int32()), nullable=False),
        pa.field("positions", pa.list_(pa.int8()), nullable=False),
        pa.field("sources", pa.list_(_TEXT), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("labels", pa.list_(pa.int8()), nullable=False),
        pa.field("propensities", pa.list_(pa.float32())),
        pa.field("model_version", pa.dictionary(pa.int16(), pa.string()), nullable=False),
    ]
)
"""Columns of `log/arm=.../day=.../part-....parquet`; `propensities` is null where no policy explored."""

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.uint64(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
        pa.field("exceptions", pa.list_(pa.float32()), nullable=False),
    ]
)
"""Columns of `truth/arm=.../day=.../part-....parquet`, rows in the order of the log's part."""


class LogFormatError(ValueError):
    """A file is not a part of the log that it should be."""


def write_log(path: Path, log: Log) -> None:
    """Writes one immutable part; `path` appears only when it is complete."""
    requests = log.requests
    columns: dict[str, Any] = {
        name: pa.array(getattr(requests, name), LOG_SCHEMA.field(name).type) for name in LOG_SCHEMA.names[:9]
    }
    present = requests.installed != NO_APP
    columns["installed"] = _lists(requests.installed[present], present.sum(axis=1), pa.int32())
    columns["apps"] = _rows(requests.apps, pa.int32())
    columns["positions"] = _rows(log.positions, pa.int8())
    columns["sources"] = _sources(log.sources)
    columns["scores"] = _rows(log.scores, pa.float32())
    columns["labels"] = _rows(log.labels, pa.int8())
    explored = np.logical_not(np.isnan(log.propensities).any(axis=1))
    columns["propensities"] = _lists(
        log.propensities[explored].ravel(), explored * log.propensities.shape[1], pa.float32(), explored
    )
    versions, codes = np.unique(log.model_version, return_inverse=True)
    columns["model_version"] = pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int16)), pa.array(versions.tolist(), pa.string())
    )
    _write(path, pa.table(columns, LOG_SCHEMA))


def write_truth(path: Path, truth: Truth) -> None:
    """Writes one immutable part of the truth, beside and apart from the log."""
    columns = {
        "request_id": pa.array(truth.request_id, pa.uint64()),
        "probabilities": _rows(truth.probabilities, pa.float64()),
        "exceptions": _rows(truth.exceptions, pa.float32()),
    }
    _write(path, pa.table(columns, TRUTH_SCHEMA))


def read_log(path: Path, capacity: int) -> Log:
    """The part at `path`, its installed apps padded to `capacity` columns.

    Raises:
        LogFormatError: when the file is not a part of a log.
    """
    table = _read(path, LOG_SCHEMA)
    scalars = {name: table.column(name).to_numpy() for name in LOG_SCHEMA.names[:9]}
    installed = _column(table, "installed")
    lengths = np.diff(installed.offsets.to_numpy())
    if len(lengths) and lengths.max() > capacity:
        raise LogFormatError(f"{path}: installed: got {lengths.max()} apps, allowed are {capacity}")
    padded = np.full((len(lengths), capacity), NO_APP, np.int32)
    padded[np.arange(capacity) < lengths[:, None]] = installed.flatten().to_numpy()
    apps = _matrix(table, "apps")
    propensity_lists = _column(table, "propensities")
    explored = ~propensity_lists.is_null().to_numpy(zero_copy_only=False)
    propensities = np.full(apps.shape, np.nan, np.float32)
    propensities[explored] = propensity_lists.flatten().to_numpy().reshape(explored.sum(), apps.shape[1])
    version = table.column("model_version").combine_chunks()
    names = np.array(version.dictionary.to_pylist() or [""])
    return Log(
        requests=Requests(**scalars, installed=padded, apps=apps),
        positions=_matrix(table, "positions"),
        sources=_source_codes(table, apps.shape),
        scores=_matrix(table, "scores"),
        labels=_matrix(table, "labels"),
        propensities=propensities,
        model_version=names[version.indices.to_numpy()],
    )


def read_truth(path: Path) -> Truth:
    """The part of the truth at `path`.

    Raises:
        LogFormatError: when the file is not a part of the truth.
    """
    table = _read(path, TRUTH_SCHEMA)
    return Truth(
        table.column("request_id").to_numpy(), _matrix(table, "probabilities"), _matrix(table, "exceptions")
    )


def _rows(matrix: Array, kind: Any) -> Any:
    return _lists(matrix.ravel(), np.full(len(matrix), matrix.shape[1]), kind)


def _lists(values: Array, lengths: Array, kind: Any, valid: Array | None = None) -> Any:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    mask = None if valid is None else pa.array(~valid)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, kind), mask=mask)


def _sources(sources: Array) -> Any:
    values = pa.DictionaryArray.from_arrays(pa.array(sources.ravel()), _NAMES)
    offsets = np.arange(len(sources) + 1, dtype=np.int32) * sources.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _source_codes(table: Any, shape: tuple[int, ...]) -> Array:
    values = _column(table, "sources").flatten()
    if not isinstance(values, pa.DictionaryArray):
        values = values.dictionary_encode()
    known = {name: code for code, name in enumerate(_NAMES.to_pylist())}
    codes = np.array([known[name] for name in values.dictionary.to_pylist()] or [0], np.int8)
    return np.asarray(codes[values.indices.to_numpy()].reshape(shape))


def _column(table: Any, name: str) -> Any:
    return table.column(name).combine_chunks()


def _matrix(table: Any, name: str) -> Array:
    column = _column(table, name)
    values = column.flatten().to_numpy()
    return np.asarray(values.reshape(len(column), -1) if len(column) else values.reshape(0, 0))


def _write(path: Path, table: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("wb") as file:
            pq.write_table(table, file, compression="zstd", store_schema=True)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _read(path: Path, schema: Any) -> Any:
    try:
        table = pq.read_table(path, memory_map=False, partitioning=None, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise LogFormatError(f"{path}: got an unreadable file ({error}), a Parquet part is needed") from error
    if table.schema.names != schema.names:
        raise LogFormatError(f"{path}: got columns {table.schema.names}, allowed are {schema.names}")
    return table
