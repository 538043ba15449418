"""Trajectories as Parquet: one row per rollout, one small file per step, the same rows always as the same bytes."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limr.errors import LimrError
from limr.store import digest
from limr.store.base import NotFound, Store
from limr.store.layout import in_stage
from limr.store.manifest import Manifest, StepRecord

KEY = ("epoch", "prompt_id", "sample")  # names a rollout within its step; also the order of a file's rows


def _schema(columns: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


TRAJECTORIES = _schema(
    {
        "prompt_id": pa.string(),
        "epoch": pa.int32(),
        "step": pa.int32(),
        "sample": pa.int16(),
        "reward": pa.float32(),
        "verdict": pa.dictionary(pa.int8(), pa.string()),
        "response_tokens": pa.int32(),
        "truncated": pa.bool_(),
        "policy_version": pa.int32(),
        "attempt": pa.int32(),
        "mean_logprob": pa.float32(),  # of the response's tokens, by the sampler
        "ratio_mean": pa.float32(),  # of the tokens' probability ratios learner / sampler
        "ratio_max": pa.float32(),
    }
)
_REPETITIVE = ["prompt_id", "epoch", "step", "sample", "reward", "verdict", "policy_version", "attempt"]

TEXTS = _schema(
    {
        "prompt_id": pa.string(),
        "epoch": pa.int32(),
        "step": pa.int32(),
        "sample": pa.int16(),
        "prompt": pa.string(),
        "response": pa.string(),
    }
)

_READ_AHEAD = 8  # files, so that the latency of S3 hides behind the reader's work


def encode(table: pa.Table, schema: pa.Schema = TRAJECTORIES) -> bytes:
    """The rows as a Parquet file, sorted by KEY; equal rows in any order and chunking give equal bytes.

    Raises ValueError when a column is missing, has another type or a null, or when two rows have the same KEY.
    """
    try:
        table = table.select(schema.names).cast(_without_dictionaries(schema))
        table = table.sort_by([(name, "ascending") for name in KEY]).combine_chunks().cast(schema)
    except (KeyError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ValueError(f"the step's table does not fit the schema: {error}") from error
    _check_unique(table)
    sink = io.BytesIO()
    if schema is TEXTS:
        pq.write_table(table, sink, compression="zstd")
    else:  # small numbers, read over and over: decoding speed counts more than the last fifth of the size
        pq.write_table(table, sink, compression="snappy", use_dictionary=_REPETITIVE)
    return sink.getvalue()


def iter_steps(
    store: Store,
    stage: str,
    manifest: Manifest,
    columns: Sequence[str] | None = None,
    dictionary: Sequence[str] = (),
    verify: bool = False,
) -> Iterator[pa.Table]:
    """The table of each step that the manifest of folder `stage` names, in order; only `columns` of it when given.

    `dictionary` names text columns to hand over dictionary-encoded, which makes grouping by them cheap. `verify`
    compares each file with its digest. Local files are memory-mapped. Raises LimrError when one is missing or broken.
    """

    def read(record: StepRecord) -> pa.Table:
        return _read(store, in_stage(stage, record.path), record.digest if verify else None, columns, dictionary)

    if store.local_path(stage) is not None:
        yield from map(read, manifest.steps)
    else:
        yield from _ahead(read, manifest.steps)


def _ahead(read: Callable[[StepRecord], pa.Table], records: Sequence[StepRecord]) -> Iterator[pa.Table]:
    with ThreadPoolExecutor(_READ_AHEAD, "limr-read") as pool:
        pending: deque[Future[pa.Table]] = deque()
        try:
            for record in records:
                pending.append(pool.submit(read, record))
                if len(pending) > _READ_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # the reader may stop early, or a read may fail
            for future in pending:
                future.cancel()


def _read(
    store: Store, path: str, expected: str | None, columns: Sequence[str] | None, dictionary: Sequence[str]
) -> pa.Table:
    where = f"{store.uri}/{path}"
    local = store.local_path(path)
    try:
        data = pa.memory_map(str(local)).read_buffer() if local else pa.py_buffer(store.get(path))
        if expected is not None and digest.of_bytes(data) != expected:
            raise LimrError(f"{where}: its bytes are not those that were written ({expected}); restore the file")
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=list(dictionary))
        return file.read(columns=columns, use_threads=False)
    except (FileNotFoundError, NotFound):
        raise LimrError(f"{where}: the manifest names this file, but it is not there; restore it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise LimrError(f"{where}: is no readable Parquet file ({error}); restore it") from error


def _without_dictionaries(schema: pa.Schema) -> pa.Schema:
    """A dictionary's order tells how a column came about, and equal rows must not show that."""
    return pa.schema(
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema
    )


def _check_unique(table: pa.Table) -> None:
    """Raises ValueError when two neighbours have the same KEY; the rows are sorted by it."""
    if table.num_rows < 2:
        return
    same = pa.scalar(True)
    for name in KEY:
        column = table.column(name)
        same = pc.and_(same, pc.equal(column.slice(1), column.slice(0, table.num_rows - 1)))
    position = pc.index(same, True).as_py()
    if position >= 0:
        row = table.select(KEY).slice(position, 1).to_pylist()[0]
        raise ValueError(f"two rows of the step have the same key: {row}")
