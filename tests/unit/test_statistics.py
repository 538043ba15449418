"""Intervals: known special cases, properties that must hold for every table of answers, and simulated coverage."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limr.statistics import Answers, FloatArray, covers_seeds, difference, pass_at_1, student_quantile


def answers(*accuracy: FloatArray, trained: bool = True) -> Answers:
    return Answers([np.atleast_2d(a) for a in accuracy], trained)


@st.composite
def tables(draw: st.DrawFn, most_seeds: int = 4) -> FloatArray:
    """(seeds, questions) shares of k samples that were correct."""
    seeds, questions = draw(st.integers(1, most_seeds)), draw(st.integers(1, 12))
    samples = draw(st.integers(1, 8))
    counts = draw(arrays(np.int64, (seeds, questions), elements=st.integers(0, samples)))
    return counts / samples


# Two-sided 95 % points of Student's t from printed tables.
@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (7, 2.36462), (29, 2.04523), (120, 1.97993), (1e9, 1.95996)],
)
def test_student_quantile_is_that_of_the_tables(degrees: float, quantile: float) -> None:
    assert student_quantile(degrees) == pytest.approx(quantile, rel=1e-5)


def test_nothing_is_known_below_one_degree_of_freedom() -> None:
    assert student_quantile(0) == inf


def test_one_sample_per_question_is_agresti_and_coull() -> None:
    solved, questions = 87, 400
    z, t = student_quantile(1e9), student_quantile(questions - 1)
    centre = (solved + z * z / 2) / (questions + z * z)
    half = t * sqrt(centre * (1 - centre) / (questions + z * z))
    interval = pass_at_1(answers(np.arange(questions) < solved))
    assert (interval.mean, interval.low, interval.high) == pytest.approx(
        (solved / questions, centre - half, centre + half)
    )


def test_paired_difference_of_single_samples_is_bonett_and_price() -> None:
    only_first, only_second, questions = 30, 12, 200
    gaps = np.repeat([1.0, -1.0, 0.0], [only_first, only_second, questions - only_first - only_second])
    first, second = (gaps > 0).astype(float), (gaps < 0).astype(float)
    p, q = (only_first + 1) / (questions + 2), (only_second + 1) / (questions + 2)
    half = student_quantile(questions - 1) * sqrt((p + q - (p - q) ** 2) / (questions + 2))
    interval = difference(answers(first), answers(second))
    assert (interval.low, interval.high) == pytest.approx((p - q - half, p - q + half))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("questions", [2, 30, 500])
def test_all_alike_is_not_certainty(value: float, questions: int) -> None:
    interval = pass_at_1(answers(np.full(questions, value)))
    assert interval.mean == value
    assert interval.high - interval.low > 2 / (questions + 4)  # the "rule of three" is 3/n for n answers
    same = answers(np.full(questions, value))
    assert difference(same, same).low < 0 < difference(same, same).high


@given(tables())
def test_interval_is_bounded_and_holds_the_mean(table: FloatArray) -> None:
    interval = pass_at_1(answers(table))
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.high > interval.low
    assert interval.mean == pytest.approx(table.mean())


@given(tables(), st.randoms(use_true_random=False))
def test_order_of_questions_and_seeds_does_not_matter(table: FloatArray, random: object) -> None:
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    shuffled = table[rng.permutation(len(table))][:, rng.permutation(table.shape[1])]
    a, b = pass_at_1(answers(table)), pass_at_1(answers(shuffled))
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


@given(tables())
def test_right_and_wrong_mirror_each_other(table: FloatArray) -> None:
    right, wrong = pass_at_1(answers(table)), pass_at_1(answers(1 - table))
    assert (wrong.low, wrong.high) == pytest.approx((1 - right.high, 1 - right.low), abs=1e-9)


@given(tables(), st.data())
def test_difference_changes_its_sign_with_the_order(table: FloatArray, data: st.DataObject) -> None:
    other = data.draw(arrays(np.float64, (2, table.shape[1]), elements=st.sampled_from([0.0, 0.5, 1.0])))
    one, two = answers(table), answers(other)
    there, back = difference(one, two), difference(two, one)
    assert -1 <= there.low <= there.mean <= there.high <= 1
    assert (back.low, back.mean, back.high) == pytest.approx((-there.high, -there.mean, -there.low), abs=1e-9)
    assert there.mean == pytest.approx(pass_at_1(one).mean - pass_at_1(two).mean)


def test_samples_of_one_question_do_not_count_as_questions() -> None:
    """Sixteen equal samples of 30 questions tell as much about other questions as one sample of each."""
    solved = np.arange(30) < 12
    assert pass_at_1(answers(np.repeat(solved[:, None], 16, axis=1).mean(axis=1))) == pass_at_1(answers(solved))


def test_seeds_that_disagree_widen_the_interval() -> None:
    questions = np.linspace(0, 1, 200)
    alike = np.stack([questions, questions, questions])
    apart = np.clip(alike + np.array([[-0.15], [0.0], [0.15]]), 0, 1)
    widths = [
        i.high - i.low for i in (pass_at_1(answers(questions)), pass_at_1(answers(alike)), pass_at_1(answers(apart)))
    ]
    assert widths[0] == pytest.approx(widths[1])
    assert widths[2] > 2 * widths[1]


def test_a_single_seed_borrows_the_spread_of_the_arm_it_is_compared_with() -> None:
    questions = np.linspace(0, 1, 200)
    single = answers(questions)
    spread = answers(np.clip(questions + np.array([[-0.15], [0.0], [0.15]]), 0, 1))
    calm = answers(np.stack([questions] * 3))
    assert covers_seeds(single, spread)
    assert difference(single, spread).low < 3 * difference(single, calm).low


def test_base_model_has_no_seeds_to_vary() -> None:
    questions = np.linspace(0, 1, 50)
    base, arm, arms = answers(questions, trained=False), answers(questions), answers(np.stack([questions] * 2))
    assert covers_seeds(base)
    assert not covers_seeds(arm)
    assert not covers_seeds(arm, base)
    assert covers_seeds(arms, base)


def test_average_of_benchmarks_weighs_each_benchmark_the_same() -> None:
    small, large = np.ones(10), np.zeros(500)
    interval = pass_at_1(answers(small, large))
    assert interval.mean == 0.5
    alone = pass_at_1(answers(small))
    assert interval.high - interval.low < alone.high - alone.low


@given(st.integers(0, 10_000))
def test_variance_of_an_average_over_benchmarks_and_seeds(seed: int) -> None:
    """The same interval from the sums of squares of an analysis of variance, written out."""
    rng = np.random.default_rng(seed)
    ability = rng.normal(0, 0.3, (3, 1))
    tables = [np.clip(rng.random((3, count)) + ability, 0, 1) for count in (7, 20)]
    z2 = student_quantile(1e9) ** 2
    centre = questions = satterthwaite = interaction = 0.0
    for table in tables:
        means = [sum(column) / 3 for column in table.T.tolist()]
        count = len(means) + z2
        middle = (sum(means) + z2 / 2) / count
        part = sum((mean - middle) ** 2 for mean in means) + z2 / 2 * ((1 - middle) ** 2 + middle**2)
        centre += middle / 2
        questions += part / count**2 / 4
        satterthwaite += (part / count**2 / 4) ** 2 / (len(means) - 1)
        total = ((table - table.mean()) ** 2).sum()
        by_question = 3 * sum((mean - table.mean()) ** 2 for mean in means)
        by_seed = len(means) * ((table.mean(axis=1) - table.mean()) ** 2).sum()
        interaction += (total - by_question - by_seed) / (2 * (len(means) - 1)) / len(means) / 4
    by_seed = np.var((tables[0].mean(axis=1) + tables[1].mean(axis=1)) / 2, ddof=1)
    seeds = max(0.0, by_seed - interaction) / 3
    half = sqrt(student_quantile(questions**2 / satterthwaite) ** 2 * questions + student_quantile(2) ** 2 * seeds)
    interval = pass_at_1(answers(*tables))
    assert (interval.low, interval.high) == pytest.approx((max(0, centre - half), min(1, centre + half)))


def test_other_questions_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same questions"):
        difference(answers(np.ones(3)), answers(np.ones(4)))


@pytest.mark.parametrize("accuracy", [[], [np.ones(3)], [np.ones((1, 0))], [np.ones((1, 3)), np.ones((2, 3))]])
def test_tables_of_the_wrong_shape_are_refused(accuracy: list[FloatArray]) -> None:
    with pytest.raises(ValueError, match=r"\(seeds, questions\)|same seeds"):
        Answers(accuracy)


def simulated(rng: np.random.Generator, difficulty: FloatArray, seeds: int, samples: int, spread: float) -> FloatArray:
    """Answers of `seeds` models whose ability differs by N(0, spread) logits; `difficulty` in logits per question."""
    chance = 1 / (1 + np.exp(-(difficulty + rng.normal(0, 1, (seeds, 1)) * spread)))
    return rng.binomial(samples, chance) / samples


def expected_accuracy(ability: float, deviation: float) -> float:
    """Over questions and seeds together: the mean of a logistic of N(ability, deviation)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float((weights / (1 + np.exp(-(ability + deviation * nodes)))).sum() / weights.sum())


@pytest.mark.parametrize(
    ("questions", "samples", "seeds", "spread", "ability"),
    [(8, 1, 1, 0.0, 0.0), (30, 4, 1, 0.0, -1.0), (30, 16, 1, 0.0, 2.0), (500, 1, 1, 0.0, 1.0), (100, 4, 2, 0.3, 0.0),
     (40, 4, 3, 0.5, 1.0), (500, 1, 3, 0.3, 0.5)],
)  # fmt: skip
def test_coverage_of_pass_at_1(questions: int, samples: int, seeds: int, spread: float, ability: float) -> None:
    rng = np.random.default_rng(7)
    truth = expected_accuracy(ability, sqrt(1.5**2 + spread**2))
    rounds = 500
    hits = 0
    for _ in range(rounds):
        difficulty = rng.normal(ability, 1.5, questions)
        interval = pass_at_1(answers(simulated(rng, difficulty, seeds, samples, spread)))
        hits += interval.low <= truth <= interval.high
    assert hits / rounds >= 0.93


@pytest.mark.parametrize(
    ("questions", "samples", "seeds", "spread", "least"),
    [
        (30, 1, (1, 1), 0.0, 0.93),
        (30, 4, (1, 1), 0.0, 0.93),
        (200, 4, (3, 3), 0.3, 0.93),
        (300, 1, (1, 5), 0.3, 0.92),
        (300, 1, (1, 2), 0.3, 0.87),
    ],
)
def test_coverage_of_a_paired_difference(
    questions: int, samples: int, seeds: tuple[int, int], spread: float, least: float
) -> None:
    rng = np.random.default_rng(11)
    deviation = sqrt(1.5**2 + spread**2)
    truth = expected_accuracy(0.6, deviation) - expected_accuracy(0.0, deviation)
    rounds = 500
    hits = 0
    for _ in range(rounds):
        difficulty = rng.normal(0, 1.5, questions)
        better = answers(simulated(rng, difficulty + 0.6, seeds[0], samples, spread))
        worse = answers(simulated(rng, difficulty, seeds[1], samples, spread))
        interval = difference(better, worse)
        hits += interval.low <= truth <= interval.high
    assert hits / rounds >= least
