"""Trajectory files: the same rows are the same bytes, nothing is named twice, damage is noticed."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.errors import LimrError
from limr.store import digest
from limr.store.local import LocalStore
from limr.store.manifest import Manifest, StepRecord
from limr.store.trajectories import TEXTS, TRAJECTORIES, encode, iter_steps

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt_id": st.text("0123456789abcdef", min_size=16, max_size=16),
            "epoch": st.integers(1, 3),
            "step": st.just(7),
            "sample": st.integers(0, 8),
            "reward": st.sampled_from([1.0, -0.5, -1.0]),
            "verdict": st.sampled_from(["correct", "wrong", "format", "timeout", "error"]),
            "response_tokens": st.integers(0, 4096),
            "truncated": st.booleans(),
            "policy_version": st.just(6),
            "attempt": st.just(2),
            "mean_logprob": st.floats(-20, 0, width=32),
            "ratio_mean": st.floats(0, 10, width=32),
            "ratio_max": st.floats(0, 10, width=32),
        }
    ),
    max_size=40,
    unique_by=lambda row: (row["epoch"], row["prompt_id"], row["sample"]),
)


def _table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, TRAJECTORIES)


def _decode(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data))


@given(rows=ROWS, seed=st.integers(0, 99), cut=st.integers(0, 40))
def test_equal_rows_are_equal_bytes_in_any_order_and_chunking(
    rows: list[dict[str, object]], seed: int, cut: int
) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))
    chunked = pa.concat_tables([_table(shuffled[:cut]), _table(shuffled[cut:])])
    plain = chunked.cast(pa.schema([f.with_type(pa.string()) if f.name == "verdict" else f for f in TRAJECTORIES]))
    data = encode(_table(rows))
    assert encode(chunked) == encode(plain) == data
    back = _decode(data)
    assert back.schema.equals(TRAJECTORIES)
    expected = sorted(_table(rows).to_pylist(), key=lambda row: (row["epoch"], row["prompt_id"], row["sample"]))
    assert back.to_pylist() == expected


@given(rows=ROWS.filter(bool), seed=st.integers(0, 99))
def test_a_rollout_named_twice_is_refused(rows: list[dict[str, object]], seed: int) -> None:
    doubled = [*rows, {**random.Random(seed).choice(rows), "reward": 0.0}]
    with pytest.raises(ValueError, match="same key"):
        encode(_table(random.Random(seed).sample(doubled, len(doubled))))


def _one_row(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {"prompt_id": "0" * 16, "epoch": 1, "step": 1, "sample": 0, "reward": 1.0}
    row |= {"verdict": "correct", "response_tokens": 3, "truncated": False, "policy_version": 0, "attempt": 1}
    return row | {"mean_logprob": -1.5, "ratio_mean": 1.0, "ratio_max": 1.25} | changes


def test_columns_of_other_types_are_cast_only_when_nothing_is_lost() -> None:
    wide = pa.Table.from_pylist([_one_row()])  # int64 and float64, as numpy and Python have them
    assert encode(wide) == encode(_table([_one_row()]))
    assert encode(wide.append_column("more", pa.array([1]))) == encode(wide)
    for wrong in (
        pa.Table.from_pylist([_one_row(sample=1 << 20)]),
        pa.Table.from_pylist([_one_row(reward=None)]),
        wide.drop_columns(["verdict"]),
    ):
        with pytest.raises(ValueError, match="does not fit the schema"):
            encode(wrong)


def test_texts_keep_every_character() -> None:
    texts = ["", "x" * 1_000_000, "a\0b", "∑ 𝔸 \n\r\t \u202e"]
    key = {"prompt_id": "0" * 16, "epoch": 1, "step": 1}
    rows = [{**key, "sample": n, "prompt": text, "response": text[::-1]} for n, text in enumerate(texts)]
    assert _decode(encode(pa.Table.from_pylist(rows, TEXTS), TEXTS)).to_pylist() == rows


@pytest.fixture
def stored(tmp_path: Path) -> tuple[LocalStore, Manifest]:
    store = LocalStore(tmp_path)
    records = []
    for step in (1, 2, 3):
        data = encode(_table([_one_row(step=step, sample=sample) for sample in range(step)]))
        store.put(f"probe/{step}.parquet", data)
        records.append(
            StepRecord(step=step, epoch=1, attempt=1, path=f"{step}.parquet", rows=step, digest=digest.of_bytes(data))
        )
    return store, Manifest(stage="probe", attempt=1, writer="w", steps=tuple(records))


def test_iterates_the_steps_that_the_manifest_names(stored: tuple[LocalStore, Manifest]) -> None:
    store, manifest = stored
    store.put("probe/4.parquet", b"not named")
    tables = list(iter_steps(store, "probe", manifest, verify=True))
    assert [table.num_rows for table in tables] == [1, 2, 3]
    assert all(table.schema.equals(TRAJECTORIES) for table in tables)
    narrow = next(iter_steps(store, "probe", manifest, columns=["prompt_id", "reward"], dictionary=["prompt_id"]))
    assert narrow.column_names == ["prompt_id", "reward"]
    assert pa.types.is_dictionary(narrow.schema.field("prompt_id").type)


def test_damaged_and_missing_files_are_named(stored: tuple[LocalStore, Manifest]) -> None:
    store, manifest = stored
    other = encode(_table([_one_row(step=2, reward=-1.0)]))
    store.put("probe/2.parquet", other)
    assert len(list(iter_steps(store, "probe", manifest))) == 3
    with pytest.raises(LimrError, match=r"probe/2\.parquet: its bytes are not those that were written"):
        list(iter_steps(store, "probe", manifest, verify=True))
    for broken in (other[:-9], b"", b"nonsense"):
        store.put("probe/2.parquet", broken)
        with pytest.raises(LimrError, match=r"probe/2\.parquet: is no readable Parquet file"):
            list(iter_steps(store, "probe", manifest))
    store.delete("probe/2.parquet")
    with pytest.raises(LimrError, match=r"probe/2\.parquet: the manifest names this file, but it is not there"):
        list(iter_steps(store, "probe", manifest))
