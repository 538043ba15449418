"""Samples from Parquet files: only the three columns that count are read, files ahead of the sums.

Works on the files of limr's own stages and on any others with prompt_id (or prompt), epoch (or step) and reward.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limr.dataset import text_problem
from limr.errors import LimrError
from limr.selection.accumulate import Batch, Rows, reduce
from limr.selection.files import InputFile
from limr.selection.numbering import Numbering
from limr.selection.texts import Texts

WORKERS = 2
READ_AHEAD = 4  # row groups per worker


@dataclass(frozen=True)
class _File:
    name: str
    reader: Any  # pq.ParquetFile
    columns: list[str]
    prompt: str  # the column that names the prompt


@dataclass(frozen=True)
class _RowGroup:
    file: _File
    index: int
    first_row: int


def first_number(file: InputFile) -> tuple[str, int]:
    """The field that tells when a sample was taken, and its value in the first row. Raises LimrError."""
    opened = _open(file)
    field = _column(opened.columns, opened.name, "epoch", "step")
    for group in _row_groups(opened):
        table = _read(group, [field])
        if table.num_rows:
            return field, int(_numbers(table, field, group)[0])
    raise LimrError(f"{file.name}: has no rows; remove it or give another file")


def batches(files: Sequence[InputFile], numbering: Numbering, solved_reward: float, texts: Texts) -> Iterator[Batch]:
    """The sums of each row group, in order. Raises LimrError with file, row and column of what cannot be used."""

    def load(group: _RowGroup) -> Batch | None:
        return reduce(_rows(group, numbering, texts), solved_reward)

    pending: deque[Future[Batch | None]] = deque()
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1), "limr-read") as pool:
        try:
            for group in (group for file in files for group in _row_groups(_open(file))):
                pending.append(pool.submit(load, group))
                if len(pending) > WORKERS * READ_AHEAD:
                    yield from _present(pending.popleft())
            while pending:
                yield from _present(pending.popleft())
        finally:  # the caller may stop early, or a read may fail
            for future in pending:
                future.cancel()


def _present(future: Future[Batch | None]) -> Iterator[Batch]:
    batch = future.result()
    if batch is not None:
        yield batch


def _row_groups(file: _File) -> Iterator[_RowGroup]:
    row = 1
    for index in range(file.reader.num_row_groups):
        yield _RowGroup(file, index, row)
        row += file.reader.metadata.row_group(index).num_rows


def _open(file: InputFile) -> _File:
    source = file.local() or file.open()
    try:
        metadata = pq.read_metadata(source)
        columns = metadata.schema.names
        prompt = _column(columns, file.name, "prompt", "prompt_id")
        # Several threads read row groups of one reader; buffering ahead is not made for that: it may hang.
        reader = pq.ParquetFile(source, metadata=metadata, read_dictionary=[prompt], pre_buffer=False)
    except FileNotFoundError:
        raise LimrError(f"{file.name}: there is no such file; restore it or correct the path") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise LimrError(f"{file.name}: is no readable Parquet file ({error}); restore it or remove it") from None
    return _File(file.name, reader, columns, prompt)


def _rows(group: _RowGroup, numbering: Numbering, texts: Texts) -> Rows:
    file = group.file
    when = _column(file.columns, file.name, numbering.field)
    table = _read(group, [file.prompt, when, _column(file.columns, file.name, "reward")])
    names, index = _names(table, group)
    if file.prompt == "prompt":
        names = _identities(names.to_pylist(), texts, f"{file.name}: rows from {group.first_row}")
    rows = range(group.first_row, group.first_row + len(index))
    epoch = numbering.epochs(_numbers(table, when, group), file.name, rows)
    return Rows(names, index, epoch, _rewards(table, group))


def _identities(prompts: list[str], texts: Texts, where: str) -> Any:
    for text in prompts:
        if wrong := text_problem(text):
            raise LimrError(f"{where}: column 'prompt' {wrong}")
    return pa.array([texts.prompt_id(text) for text in prompts], pa.string())


def _column(columns: list[str], where: str, *names: str) -> str:
    """The first of `names` that is among the columns."""
    for name in names:
        if name in columns:
            return name
    wanted = " or ".join(map(repr, names))
    raise LimrError(f"{where}: column {wanted} is missing (it has: {', '.join(columns)}); add it")


def _read(group: _RowGroup, columns: list[str]) -> Any:
    try:
        return group.file.reader.read_row_group(group.index, columns=columns, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise LimrError(f"{group.file.name}: is damaged ({error}); restore it or remove it") from None


def _names(table: Any, group: _RowGroup) -> tuple[Any, Any]:
    """The distinct texts of a row group, and each row's position among them."""
    values = _without_nulls(table, group.file.prompt, group)
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    text = values.type.value_type
    if not (pa.types.is_string(text) or pa.types.is_large_string(text)):
        raise _wrong_type(group, group.file.prompt, text, "text")
    values = values.unify_dictionaries().combine_chunks()
    return values.dictionary.cast(pa.string()), values.indices.to_numpy()


def _numbers(table: Any, column: str, group: _RowGroup) -> Any:
    values = _without_nulls(table, column, group)
    if not pa.types.is_integer(values.type):
        raise _wrong_type(group, column, values.type, "whole numbers")
    return (values if values.type.bit_width <= 32 else values.cast(pa.int64())).to_numpy()


def _rewards(table: Any, group: _RowGroup) -> Any:
    values = _without_nulls(table, "reward", group)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise _wrong_type(group, "reward", values.type, "numbers")
    rewards = (values if pa.types.is_float32(values.type) else values.cast(pa.float64())).to_numpy()
    finite = np.isfinite(rewards)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise LimrError(f"{_row(group, bad)}: column 'reward' is {rewards[bad]}; write a finite number")
    return rewards


def _without_nulls(table: Any, column: str, group: _RowGroup) -> Any:
    values = table.column(column)
    if values.null_count:
        bad = pc.index(values.is_null(), True).as_py()
        raise LimrError(f"{_row(group, bad)}: column {column!r} is null; fill it or remove the row")
    return values


def _row(group: _RowGroup, index: int) -> str:
    return f"{group.file.name}: row {group.first_row + index}"


def _wrong_type(group: _RowGroup, column: str, kind: Any, wanted: str) -> LimrError:
    return LimrError(f"{group.file.name}: column {column!r} is {kind}; write {wanted}")
