"""The files of a selection: scores.parquet, subset.parquet, summary.json and, with a dataset, subset.json."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limr.selection.accuracy import Floats
from limr.selection.run import Selection
from limr.store.base import Store
from limr.store.layout import SCORES, SUBSET, SUMMARY

ROWS = "subset.json"


def files(selection: Selection, dataset_bytes: bytes | None = None) -> dict[str, bytes]:
    """What to write, by name. `dataset_bytes` are those that selection.dataset was parsed from."""
    rendered = {SCORES: scores_bytes(selection), SUBSET: subset_bytes(selection)}
    if dataset_bytes is not None:
        rendered[ROWS] = json_bytes(_kept_rows(selection, dataset_bytes))
    return {**rendered, SUMMARY: json_bytes(selection.summary)}


def write(rendered: Mapping[str, bytes], store: Store) -> None:
    """Puts each file in place in one step, the summary last. Other files stay, but not an older selection's rows."""
    if ROWS not in rendered:
        store.delete(ROWS)
    for name, data in rendered.items():
        store.put(name, data)


def scores_bytes(selection: Selection) -> bytes:
    """prompt_id, prompt (null where unknown), score and, with trajectories, accuracy: a list with null for a gap."""
    columns: dict[str, Any] = {
        "prompt_id": pa.array(selection.prompt_ids, pa.string()),
        "prompt": pa.array([selection.texts.get(name) for name in selection.prompt_ids], pa.string()),
        "score": pa.array(selection.scores, pa.float64()),
    }
    if selection.accuracy is not None:
        columns["accuracy"] = _lists(selection.accuracy)
    return _parquet(pa.table(columns))


def subset_bytes(selection: Selection) -> bytes:
    """prompt_id, prompt, answer (with a dataset) and score of the kept prompts, in the dataset's order or by id."""
    score = dict(zip(selection.prompt_ids, selection.scores.tolist(), strict=True))
    kept = [name for name, keep in zip(selection.prompt_ids, selection.selected.tolist(), strict=True) if keep]
    answers: dict[str, Any] = {}
    if selection.dataset is not None:
        chosen = set(kept)
        prompts = [prompt for prompt in selection.dataset.prompts if prompt.prompt_id in chosen]
        kept = [prompt.prompt_id for prompt in prompts]
        answers = {"answer": pa.array([prompt.answer for prompt in prompts], pa.string())}
    columns = {
        "prompt_id": pa.array(kept, pa.string()),
        "prompt": pa.array([selection.texts.get(name) for name in kept], pa.string()),
        **answers,
        "score": pa.array([score[name] for name in kept], pa.float64()),
    }
    return _parquet(pa.table(columns))


def _lists(accuracy: Floats) -> Any:
    flat = np.ascontiguousarray(accuracy, np.float32).ravel()
    ends = np.arange(len(accuracy) + 1, dtype=np.int32) * accuracy.shape[1]
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat, pa.float32(), mask=np.isnan(flat)))


def _kept_rows(selection: Selection, data: bytes) -> list[Any]:
    """The dataset's own rows of the kept prompts, as they are; of a repeated prompt the first one."""
    assert selection.dataset is not None
    kept = {name for name, keep in zip(selection.prompt_ids, selection.selected.tolist(), strict=True) if keep}
    numbers = [prompt.row for prompt in selection.dataset.prompts if prompt.prompt_id in kept]
    text = data.decode("utf-8-sig")
    if text.lstrip().startswith("["):
        rows = json.loads(text)
        return [rows[number - 1] for number in numbers]
    lines = text.split("\n")
    return [json.loads(lines[number - 1]) for number in numbers]


def _parquet(table: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def json_bytes(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()
