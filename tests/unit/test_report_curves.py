"""Groups, histogram and examples of the prompts that a selection scored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limr.report import curves
from limr.report.schema import Group
from limr.report.sources import Scores
from limr.statistics import FloatArray

NAN = float("nan")


def scored(scores: FloatArray, selected: object, accuracy: FloatArray | None = None) -> Scores:
    ids = [f"{index:016x}" for index in range(len(scores))]
    return Scores(ids, [f"prompt {name}" for name in ids], scores, np.asarray(selected, bool), accuracy)


def test_groups() -> None:
    accuracy = np.array(
        [
            [0, 0, 0, 0],
            [0, NAN, 0, 0],
            [1, 1, 1, 1],
            [NAN, 1, 1, 1],
            [0, 0.5, 0.5, 1],
            [0.5, 0.5, 0.5, 0.5],
            [1, 0, 0, 0],
        ]
    )
    assert curves.grouped(accuracy).tolist() == [
        Group.NEVER, Group.NEVER, Group.ALWAYS, Group.ALWAYS, Group.LEARNED, Group.OTHER, Group.OTHER,
    ]  # fmt: skip


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(-8, 1)), st.sampled_from([None, 0.6, 0.0, -3.0]))
def test_histogram_counts_every_prompt_once(scores: FloatArray, threshold: float | None) -> None:
    selected = scores >= (threshold if threshold is not None else 0.3)
    found = curves.histogram(scored(scores, selected), threshold)
    assert found is not None
    assert sum(found.kept) == selected.sum()
    assert sum(found.left) == (~selected).sum()
    assert len(found.edges) == len(found.kept) + 1 == len(found.left) + 1
    assert found.edges == sorted(found.edges)
    assert found.edges[-1] > scores.max() - 1e-6
    assert found.below <= found.kept[0] + found.left[0]
    assert len(found.kept) < 60


@given(arrays(np.int64, st.integers(1, 60), elements=st.integers(-300, 100)))
def test_no_bar_holds_selected_and_others(hundredths: FloatArray) -> None:
    """With two-decimal scores, as the paper publishes them, the threshold falls on an edge."""
    scores = np.round(hundredths / 100, 2)
    found = curves.histogram(scored(scores, scores >= 0.6), 0.6)
    assert found is not None
    assert not any(kept and left for kept, left in zip(found.kept, found.left, strict=True))


def test_a_long_lower_tail_is_one_bar() -> None:
    found = curves.histogram(scored(np.array([-4.09, -4.09, 0.0, 0.7]), [False, False, False, True]), 0.6)
    assert found is not None
    assert found.edges[0] > -1
    assert found.edges[0] <= 0
    assert found.below == 2
    assert found.left[0] == 3


def test_scores_that_are_all_the_same_make_a_histogram() -> None:
    found = curves.histogram(scored(np.zeros(5), np.ones(5)), None)
    assert found is not None
    assert sum(found.kept) == 5


def test_nothing_finite_makes_none() -> None:
    assert curves.histogram(scored(np.array([NAN]), [False]), 0.6) is None


def test_probe_shows_a_random_part_of_the_prompts_and_counts_all() -> None:
    accuracy = np.zeros((1000, 3))
    accuracy[:100] = 1
    accuracy[0, 1] = NAN
    facts = curves.probe_facts(scored(np.zeros(1000), np.zeros(1000), accuracy))
    assert facts is not None
    assert (facts.epochs, facts.prompts, len(facts.curves)) == (3, 1000, curves.MOST_CURVES)
    assert facts.groups == {Group.NEVER: 900, Group.ALWAYS: 100, Group.LEARNED: 0, Group.OTHER: 0}
    assert facts.average == [0.1, pytest.approx(99 / 999, abs=1e-4), 0.1]
    assert facts.curves[0].accuracy == [1.0, None, 1.0]


def test_without_a_probe_there_are_no_curves() -> None:
    assert curves.probe_facts(scored(np.zeros(3), np.zeros(3))) is None


def test_examples_show_both_sides_of_the_threshold_and_what_teaches_nothing() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.61, 0.6, 0.59, 0.5, 0.0, -1.0, -4.0])
    accuracy = np.tile([0.25, 0.5, 0.75], (10, 1))
    accuracy[7], accuracy[8] = 1, 0
    found = curves.examples(scored(scores, scores >= 0.6, accuracy))
    assert [example.score for example in found] == [0.9, 0.8, 0.61, 0.6, 0.59, 0.5, 0.0, -1.0, -4.0]
    assert [example.selected for example in found] == [True] * 4 + [False] * 5
    assert [example.group for example in found[6:8]] == [Group.ALWAYS, Group.NEVER]


def test_examples_without_curves_or_with_nothing_selected() -> None:
    found = curves.examples(scored(np.array([0.1, 0.2]), [False, False]))
    assert [(example.score, example.group, example.accuracy) for example in found] == [(0.2, None, []), (0.1, None, [])]
