"""How well a model answers, and how sure that is: pass@1 and differences of pass@1 with 95 % intervals.

Two things vary by chance. *Questions*: a benchmark is a sample of the questions one could have asked, and the samples
of one question resemble each other, so the question is the unit and its samples are averaged first (clustering:
Miller, "Adding Error Bars to Evals", arXiv 2411.00640). *Seeds*: another seed of the same arm trains another model;
all seeds answer the same questions, so the two factors are crossed.

The interval is built in three steps, each a published method:

1. Questions. Student's t on the question means after adding pseudo-questions, so that "all correct" does not claim
   certainty. For one model z² ≈ 3.84 of them, half always and half never solved: with one sample per question that is
   the interval of Agresti and Coull (The American Statistician 52, 1998). For a paired difference one question that
   only the first model solves and one that only the second solves: the interval of Bonett and Price (Journal of
   Educational and Behavioral Statistics 37, 2012). Both with t in place of z, for few questions.
2. Seeds. The variance between seed means, less what the interaction of seeds and questions puts into it (the analysis
   of variance of a two-way random layout), with its own t for its few degrees of freedom.
3. Both together: the two half-widths are added in quadrature (MOVER: Zou and Donner, Statistics in Medicine 27, 2008).

With one seed there is no step 2: the interval then speaks of that one trained model and not of the method that made
it. Simulated coverage of the nominal 95 % (tests/unit/test_statistics.py has the model): 93 to 100 % for 5 to 500
questions of 1 to 16 samples with one seed or with three and more; 91 % for one seed compared with three and 88 %
with two, where seeds differ by as much as 0.3 logits: a variance from two or three values is easily too small. Not
chosen: the bootstrap and the plain t interval on question means, which claim a zero width wherever all questions agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, pi, sqrt, tan
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from limr.stage import Interval

FloatArray = NDArray[np.float64]

LEVEL = 0.95
_Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)


@dataclass(frozen=True)
class Answers:
    """What one arm got right.

    `accuracy`: for each benchmark an array (seeds, questions) with the share of a question's samples that were correct.
    `trained`: False for a model that no seed of ours made (the base model); its seed variance is zero, not unknown.
    """

    accuracy: Sequence[FloatArray]
    trained: bool = True

    def __post_init__(self) -> None:
        if not self.accuracy or any(a.ndim != 2 or not a.size for a in self.accuracy):
            raise ValueError("accuracy needs one (seeds, questions) array per benchmark, none of them empty")
        if len({len(a) for a in self.accuracy}) != 1:
            raise ValueError("every benchmark needs the same seeds")

    @property
    def seeds(self) -> int:
        return len(self.accuracy[0])


@dataclass(frozen=True)
class _Source:
    """One source of chance: its part of the estimate's variance, and how well that part is known."""

    variance: float
    degrees_of_freedom: float

    def half_width_squared(self) -> float:
        if not self.variance:
            return 0.0
        quantile = student_quantile(self.degrees_of_freedom)
        return quantile * quantile * self.variance


@dataclass(frozen=True)
class _Pseudo:
    """Questions added to a benchmark: `count` in all, half with the value `low`, half with `high`."""

    count: float
    low: float
    high: float


_ALWAYS_AND_NEVER = _Pseudo(_Z**2, 0.0, 1.0)
_ONLY_ONE_OF_TWO = _Pseudo(2.0, -1.0, 1.0)


def pass_at_1(answers: Answers) -> Interval:
    """Mean accuracy over all questions and seeds; over several benchmarks the mean of their means (unweighted)."""
    questions = [accuracy.mean(axis=0) for accuracy in answers.accuracy]
    return _interval(questions, _ALWAYS_AND_NEVER, _seeds([answers]))


def difference(first: Answers, second: Answers) -> Interval:
    """pass@1 of `first` minus that of `second`, paired by question; seeds are not paired.

    An arm of one seed borrows the seed variance of the other one, as in a two-sample t test with equal variances.
    Raises ValueError when the two were not asked the same numbers of questions.
    """
    if [a.shape[1] for a in first.accuracy] != [a.shape[1] for a in second.accuracy]:
        raise ValueError("a paired difference needs both models' answers to the same questions")
    pairs = zip(first.accuracy, second.accuracy, strict=True)
    questions = [one.mean(axis=0) - other.mean(axis=0) for one, other in pairs]
    return _interval(questions, _ONLY_ONE_OF_TWO, _seeds([first, second]))


def covers_seeds(*groups: Answers) -> bool:
    """Whether an interval over these groups includes what other training seeds would have given."""
    trained = [answers for answers in groups if answers.trained]
    return not trained or any(answers.seeds > 1 for answers in trained)


def _interval(questions: Sequence[FloatArray], pseudo: _Pseudo, seeds: _Source) -> Interval:
    moments = [_with_pseudo_questions(values, pseudo) for values in questions]
    share = 1 / len(moments)
    centre = sum(mean for mean, _ in moments) * share
    sources = [_Source(source.variance * share**2, source.degrees_of_freedom) for _, source in moments]
    half_width = sqrt(_together(sources).half_width_squared() + seeds.half_width_squared())
    mean = sum(float(values.mean()) for values in questions) * share
    low, high = max(pseudo.low, centre - half_width), min(pseudo.high, centre + half_width)
    # The mean lies inside in exact arithmetic; min and max guard the last bit.
    return Interval(mean=mean, low=min(mean, low), high=max(mean, high))


def _with_pseudo_questions(values: FloatArray, pseudo: _Pseudo) -> tuple[float, _Source]:
    """Mean of the values and the pseudo-questions, and the variance of that mean."""
    count = len(values) + pseudo.count
    mean = float(values.sum() + pseudo.count * (pseudo.low + pseudo.high) / 2) / count
    squares = float(((values - mean) ** 2).sum())
    squares += pseudo.count / 2 * ((pseudo.low - mean) ** 2 + (pseudo.high - mean) ** 2)
    return mean, _Source(squares / count**2, len(values) - 1)


def _together(sources: Sequence[_Source]) -> _Source:
    """Independent parts of one kind as one part (degrees of freedom: Satterthwaite, 1946)."""
    variance = sum(source.variance for source in sources)
    if any(source.degrees_of_freedom == 0 for source in sources):
        return _Source(variance, 0)
    return _Source(variance, variance**2 / sum(s.variance**2 / s.degrees_of_freedom for s in sources))


def _seeds(groups: Sequence[Answers]) -> _Source:
    """What the choice of training seeds adds to the variance of the mean, or of the difference, of these groups."""
    trained = [answers for answers in groups if answers.trained]
    repeated = [answers for answers in trained if answers.seeds > 1]
    degrees_of_freedom = sum(answers.seeds - 1 for answers in repeated)
    if not degrees_of_freedom:
        return _Source(0.0, inf)
    pooled = sum((a.seeds - 1) * _seed_variance(a) for a in repeated) / degrees_of_freedom
    shares = sum(1 / answers.seeds for answers in trained)
    return _Source(max(0.0, pooled) * shares, degrees_of_freedom)


def _seed_variance(answers: Answers) -> float:
    """Variance of one seed's expected mean; negative when the seeds agree better than chance would have them."""
    means = np.mean([accuracy.mean(axis=1) for accuracy in answers.accuracy], axis=0)
    interactions = sum(_interaction(accuracy) / accuracy.shape[1] for accuracy in answers.accuracy)
    return float(np.var(means, ddof=1) - interactions / len(answers.accuracy) ** 2)


def _interaction(accuracy: FloatArray) -> float:
    """Mean square of what neither the question nor the seed explains, of an array (seeds, questions)."""
    seeds, questions = accuracy.shape
    if questions == 1:
        return 0.0
    rest = accuracy - accuracy.mean(axis=0) - accuracy.mean(axis=1, keepdims=True) + accuracy.mean()
    return float((rest**2).sum() / ((seeds - 1) * (questions - 1)))


@lru_cache(maxsize=1024)
def student_quantile(degrees_of_freedom: float) -> float:
    """The t with `LEVEL` of Student's distribution between −t and t; infinite below one degree of freedom.

    With t = √ν·tan θ the density becomes cos^(ν−1) θ on (−π/2, π/2), which is integrated on a grid: relative error
    below 1e-6 (numpy alone has no quantile of t).
    """
    if degrees_of_freedom < 1:
        return inf
    if degrees_of_freedom > 1e5:
        return _Z
    widest = min(pi / 2, 12 / sqrt(degrees_of_freedom))  # what lies beyond is below 1e-15
    angles = np.linspace(0.0, widest, 20_001)
    density = np.cos(angles) ** (degrees_of_freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return sqrt(degrees_of_freedom) * tan(float(np.interp(LEVEL * mass[-1], mass, angles)))
