"""Samples from JSON arrays and JSON lines, a chunk of rows at a time: texts are read, hashed and forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

import ijson
import numpy as np
import pyarrow as pa

from limr.errors import LimrError
from limr.selection.accumulate import Batch, Rows, reduce
from limr.selection.files import InputFile
from limr.selection.numbering import Numbering
from limr.selection.record import finite, kind, prompt, whole
from limr.selection.texts import Texts

CHUNK_ROWS = 65_536
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def first_number(file: InputFile) -> tuple[str, int]:
    """The field that tells when a sample was taken, and its value in the first row. Raises LimrError."""
    for row, record in records(file):
        field = "epoch" if "epoch" in record else "step"
        return field, whole(record, field, file.name, row)
    raise LimrError(f"{file.name}: has no rows; remove it or give another file")


def batches(
    files: Sequence[InputFile],
    steps: Sequence[int],
    numbering: Numbering,
    solved_reward: float,
    texts: Texts,
) -> Iterator[Batch]:
    """The sums of each chunk of rows. With `steps` each file is one step, whatever its rows say.

    Raises LimrError with file, row and field of what cannot be used.
    """
    for index, file in enumerate(files):
        rows = records(file)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            batch = reduce(_rows(chunk, file.name, steps[index] if steps else None, numbering, texts), solved_reward)
            if batch is not None:
                yield batch


def records(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object of the file with its row (of lines: its line), from 1. Raises LimrError when it is not JSON."""
    with file.open() as stream:
        if stream.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            stream.seek(0)
        start = stream.tell()
        is_array = _first_character(stream) == b"["
        stream.seek(start)
        for row, record in _array(stream, file.name) if is_array else _lines(stream, file.name):
            if not isinstance(record, dict):
                raise LimrError(f"{file.name}: row {row}: is {kind(record)}, not an object; write one object per row")
            yield row, record


def _first_character(stream: BinaryIO) -> bytes:
    while (character := stream.read(1)).isspace():
        pass
    return character


def _array(stream: BinaryIO, name: str) -> Iterator[tuple[int, Any]]:
    row = 0
    try:
        for row, record in enumerate(ijson.items(stream, "item", use_float=True), start=1):
            yield row, record
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise LimrError(f"{name}: not valid JSON after row {row}: {reason}; write the file again") from None


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, Any]]:
    for row, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            yield row, json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise LimrError(f"{name}: row {row}: not valid JSON: {error}; write one object per line") from None


def _rows(
    chunk: Iterable[tuple[int, dict[str, Any]]], name: str, step: int | None, numbering: Numbering, texts: Texts
) -> Rows:
    rows, identities, numbers, rewards = [], [], [], []
    for row, record in chunk:
        rows.append(row)
        named, is_text = prompt(record, name, row)
        identities.append(texts.prompt_id(named) if is_text else named)
        numbers.append(step if step is not None else whole(record, numbering.field, name, row))
        rewards.append(finite(record, "reward", name, row))
    names = pa.array(identities, pa.string()).dictionary_encode()
    epochs = numbering.epochs(np.array(numbers, np.int64), name, rows)
    return Rows(names.dictionary, names.indices.to_numpy(), epochs, np.array(rewards, np.float64))
