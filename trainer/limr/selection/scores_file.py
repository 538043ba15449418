"""Scores that one already has: JSON, JSON lines or Parquet with prompt (or prompt_id) and score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limr.errors import LimrError
from limr.selection import json_rows
from limr.selection.accuracy import Floats
from limr.selection.files import single
from limr.selection.record import finite, prompt
from limr.selection.texts import Texts


@dataclass(frozen=True)
class GivenScores:
    prompt_ids: list[str]  # [N] in ascending order, each once
    values: Floats  # [N]
    texts: Mapping[str, str]  # prompt_id -> prompt, where the file has texts
    warnings: tuple[str, ...] = ()


def read_scores(uri: str, endpoint: str | None = None) -> GivenScores:
    """A prompt that stands twice with the same score counts once, with a warning.

    Raises LimrError with file, row and field for whatever cannot be used, and for a prompt with two scores.
    """
    scores: dict[str, float] = {}
    first_rows: dict[str, int] = {}
    texts, repeated = Texts(keep=True), 0
    for row, record in _records(uri, endpoint):
        named, is_text = prompt(record, uri, row)
        identity = texts.prompt_id(named) if is_text else named
        score = finite(record, "score", uri, row)
        if scores.setdefault(identity, score) != score:
            raise LimrError(
                f"{uri}: row {row}: gives the prompt of row {first_rows[identity]} another score ({score:g}, not "
                f"{scores[identity]:g}); keep one of the two rows"
            )
        repeated += identity in first_rows
        first_rows.setdefault(identity, row)
    if not scores:
        raise LimrError(f"{uri}: the file has no rows; it must hold at least one score")
    prompt_ids = sorted(scores)
    values = np.array([scores[name] for name in prompt_ids], np.float64)
    warnings = [f"{uri}: rows that repeat a prompt with the same score: {repeated}; each prompt counts once"]
    return GivenScores(prompt_ids, values, texts.by_id, tuple(warnings if repeated else []))


def _records(uri: str, endpoint: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    file = single(uri, endpoint)
    if not uri.endswith(".parquet"):
        yield from json_rows.records(file)
        return
    with file.open() as stream:
        try:
            reader = pq.ParquetFile(stream)
            columns = [name for name in ("prompt_id", "prompt", "score") if name in reader.schema_arrow.names]
            table = reader.read(columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise LimrError(f"{uri}: is no readable Parquet file ({error}); restore it") from None
    yield from enumerate(table.to_pylist(), start=1)
