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
    apps = _matrix(path, table, "apps")
    scalars = {name: table.column(name).to_numpy() for name in LOG_SCHEMA.names[:9]}
    installed = _column(table, "installed")
    lengths = _lengths(installed)
    if len(lengths) and lengths.max() > capacity:
        raise LogFormatError(f"{path}: installed: got {lengths.max()} apps, allowed are {capacity}")
    padded = np.full((len(lengths), capacity), NO_APP, np.int32)
    padded[np.arange(capacity) < lengths[:, None]] = _values(path, "installed", installed).to_numpy()
    versions, indices = _texts(path, "model_version", _column(table, "model_version"))
    return Log(
        requests=Requests(**scalars, installed=padded, apps=apps),
        positions=_matrix(path, table, "positions", apps.shape[1]),
        sources=_source_codes(path, table, apps.shape),
        scores=_matrix(path, table, "scores", apps.shape[1]),
        labels=_matrix(path, table, "labels", apps.shape[1]),
        propensities=_propensities(path, table, apps.shape),
        model_version=np.array(versions or [""])[indices],
    )


def read_truth(path: Path) -> Truth:
    """The part of the truth at `path`.

    Raises:
        LogFormatError: when the file is not a part of the truth.
    """
    table = _read(path, TRUTH_SCHEMA)
    probabilities = _matrix(path, table, "probabilities")
    exceptions = _matrix(path, table, "exceptions", probabilities.shape[1])
    return Truth(table.column("request_id").to_numpy(), probabilities, exceptions)


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


def _source_codes(path: Path, table: Any, shape: tuple[int, ...]) -> Array:
    lists = _column(table, "sources")
    _same_lengths(path, "sources", _lengths(lists), shape[1])
    names, indices = _texts(path, "sources", _values(path, "sources", lists))
    known = {name: code for code, name in enumerate(_NAMES.to_pylist())}
    for name in names:
        if name not in known:
            raise LogFormatError(f"{path}: sources: got {name!r}, allowed are {', '.join(known)}")
    codes = np.array([known[name] for name in names] or [0], np.int8)
    return np.asarray(codes[indices].reshape(shape))


def _propensities(path: Path, table: Any, shape: tuple[int, ...]) -> Array:
    """float32 of `shape`; NaN in rows that are null."""
    lists = _column(table, "propensities")
    explored = ~lists.is_null().to_numpy(zero_copy_only=False)
    _same_lengths(path, "propensities", _lengths(lists)[explored], shape[1])
    propensities = np.full(shape, np.nan, np.float32)
    values = _values(path, "propensities", lists).to_numpy()
    propensities[explored] = values.reshape(explored.sum(), shape[1])
    return propensities


def _matrix(path: Path, table: Any, name: str, width: int | None = None) -> Array:
    """The lists of a column as rows; they must all have `width` values, or equally many where it is None."""
    lists = _column(table, name)
    lengths = _lengths(lists)
    _same_lengths(path, name, lengths, int(lengths[0]) if width is None and len(lengths) else width)
    values = _values(path, name, lists).to_numpy()
    return np.asarray(values.reshape(len(lists), -1) if len(lists) else values.reshape(0, 0))


def _column(table: Any, name: str) -> Any:
    return table.column(name).combine_chunks()


def _lengths(lists: Any) -> Array:
    return np.diff(lists.offsets.to_numpy())


def _same_lengths(path: Path, name: str, lengths: Array, width: int | None) -> None:
    if (lengths != width).any():
        other = lengths[lengths != width][0]
        raise LogFormatError(f"{path}: {name}: got a row of {other} values, {width} are allowed")


def _values(path: Path, name: str, lists: Any) -> Any:
    values = lists.flatten()
    if values.null_count:
        raise LogFormatError(f"{path}: {name}: got {values.null_count} nulls in its lists, none are allowed")
    return values


def _texts(path: Path, name: str, values: Any) -> tuple[list[str], Array]:
    """The distinct strings, and of each value the place of its string among them."""
    if not isinstance(values, pa.DictionaryArray):
        values = values.dictionary_encode()
    try:
        return values.dictionary.to_pylist(), values.indices.to_numpy()
    except UnicodeDecodeError as error:
        raise LogFormatError(f"{path}: {name}: got a string that is no UTF-8 ({error})") from error


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
    for field in schema:
        got, allowed = _type_name(table.schema.field(field.name).type), _type_name(field.type)
        if got != allowed:
            raise LogFormatError(f"{path}: {field.name}: got {got}, allowed is {allowed}")
        nulls = table.column(field.name).null_count
        if nulls and not field.nullable:
            raise LogFormatError(f"{path}: {field.name}: got {nulls} nulls, none are allowed")
    return table


def _type_name(kind: Any) -> str:
    """A type's name, whether its strings are in a dictionary or not, and whatever a list calls its items."""
    if pa.types.is_dictionary(kind):
        return _type_name(kind.value_type)
    if pa.types.is_list(kind):
        return f"list of {_type_name(kind.value_type)}"
    return str(kind)
