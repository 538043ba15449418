"""Accumulating samples into counts: whatever the order, the batches and the form of the ids."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_samples import Sample, matrix_of, trainings

from limr.dataset import prompt_id
from limr.errors import LimrError
from limr.selection import accumulate
from limr.selection.accumulate import Accumulator, Rows, reduce
from limr.selection.accuracy import AccuracyMatrix, merge
from limr.selection.prompt_index import PromptIndex


def naive_counts(samples: list[Sample]) -> dict[tuple[str, int], list[float]]:
    cells: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for sample in samples:
        cell = cells[prompt_id(sample.prompt), sample.epoch]
        cell[0] += sample.reward == 1
        cell[1] += 1
        cell[2] += sample.reward
    return cells


def check(matrix: AccuracyMatrix, samples: list[Sample]) -> None:
    expected = naive_counts(samples)
    assert matrix.prompt_ids == sorted({name for name, _ in expected})
    assert matrix.epochs == max(epoch for _, epoch in expected)
    for row, name in enumerate(matrix.prompt_ids):
        for column in range(matrix.epochs):
            correct, total, reward_sum = expected.get((name, column + 1), [0, 0, 0.0])
            assert matrix.correct[row, column] == correct
            assert matrix.total[row, column] == total
            assert matrix.reward_sum[row, column] == pytest.approx(reward_sum, abs=1e-12)


@given(trainings(), st.integers(1, 9))
def test_counts_do_not_depend_on_order_or_batches(samples: list[Sample], batch: int) -> None:
    check(matrix_of(samples, batch), samples)


@given(trainings(), st.integers(0, 30))
def test_parts_merge_to_the_whole(samples: list[Sample], cut: int) -> None:
    parts = [part for part in (samples[:cut], samples[cut:]) if part]
    check(merge([matrix_of(part) for part in parts]), samples)


def test_pending_sums_are_flushed_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulate, "MIN_PENDING", 4)
    samples = [Sample(f"p{number % 13}", number % 5 + 1, 1.0 if number % 3 else -0.5) for number in range(400)]
    check(matrix_of(samples, batch=6), samples)


def test_gaps_are_no_zeros() -> None:
    matrix = matrix_of([Sample("a", 1, 1.0), Sample("a", 3, -0.5), Sample("b", 2, 0.25)])
    a, b = matrix.prompt_ids.index(prompt_id("a")), matrix.prompt_ids.index(prompt_id("b"))
    np.testing.assert_array_equal(matrix.accuracy[a], [1, np.nan, 0])
    np.testing.assert_array_equal(matrix.mean_reward[b], [np.nan, 0.25, np.nan])
    np.testing.assert_array_equal(matrix.average, [1, 0, 0])
    assert matrix.first(1).epochs == 1
    assert not matrix.first(1).never_solved[b]  # not seen is not never solved
    assert matrix.never_solved[b]
    assert not matrix.always_solved[a]
    assert matrix.first(2).always_solved[a]


def test_a_batch_in_any_order_is_reduced_to_its_cells() -> None:
    prompt = np.arange(900, dtype=np.int32) % 3
    rows = Rows(pa.array(["a", "b", "c"]), prompt, np.ones(900, np.int32), np.ones(900))
    reduced = reduce(rows, 1.0)
    assert reduced is not None
    assert len(reduced) == 3
    assert reduced.epochs[1].correct.tolist() == [300] * 3


def test_another_reward_can_mean_solved() -> None:
    rows = Rows(pa.array(["a"]), np.zeros(3, np.int32), np.ones(3, np.int32), np.array([0.9, 0.9, 0.1], np.float32))
    reduced = reduce(rows, solved_reward=0.9)
    assert reduced is not None
    accumulator = Accumulator(solved_reward=0.9)
    accumulator.add(reduced)
    matrix = accumulator.matrix()
    assert matrix.correct.tolist() == [[2]]
    assert matrix.mean_reward[0, 0] == pytest.approx((0.9 + 0.9 + 0.1) / 3 / 0.9)


def test_no_rows_make_an_empty_matrix() -> None:
    empty = Rows(pa.array([], pa.string()), *(np.zeros(0, np.int32),) * 2, np.zeros(0, np.float32))
    assert reduce(empty, 1.0) is None
    assert Accumulator().matrix().total.shape == (0, 0)


def test_numbers_that_are_no_epochs_are_refused() -> None:
    accumulator = Accumulator()
    reduced = reduce(
        Rows(pa.array(["a"]), np.zeros(1, np.int32), np.array([1_700_000_000]), np.ones(1, np.float32)), 1.0
    )
    assert reduced is not None
    accumulator.add(reduced)
    with pytest.raises(LimrError, match="numbered up to 1700000000"):
        accumulator.matrix()


names = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}"),
    st.sampled_from(
        [
            "0000000000000000",
            "ABCDEFABCDEFABCD",
            "abcdefabcdefabcd",
            "00 11 22 33 44 5",
            "é" * 8,
            "x",
            "0" * 8,
            "0" * 24,
        ]
    ),
    st.text(min_size=1, max_size=16),
)


@given(st.lists(st.lists(names, max_size=8), min_size=1, max_size=5))
def test_the_index_numbers_any_names(calls: list[list[str]]) -> None:
    index = PromptIndex()
    seen: dict[str, int] = {}
    for call in calls:
        codes = index.encode([pa.array(call[:3], pa.string()), pa.array(call, pa.string()).slice(min(3, len(call)))])
        assert codes.tolist() == [seen.setdefault(name, len(seen)) for name in call]
    ordered, numbers = index.ordered()
    assert ordered == sorted(seen, key=str.encode)
    assert [seen[name] for name in ordered] == numbers.tolist()


def test_names_that_only_together_look_like_our_ids_stay_apart() -> None:
    index = PromptIndex()
    assert index.encode([pa.array(["0" * 8, "0" * 24])]).tolist() == [0, 1]
    assert index.ordered()[0] == ["0" * 8, "0" * 24]
