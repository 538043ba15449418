"""What the probe and the selections show about single prompts: curves, groups, score histogram, examples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import floor, log10

import numpy as np
from numpy.typing import NDArray

from limr.report.formats import printable
from limr.report.schema import Curve, Example, Group, Histogram, ProbeFacts
from limr.report.sources import Scores
from limr.statistics import FloatArray

MOST_CURVES = 200
BINS = 24
LEARNED_RISE = 0.2  # mean accuracy of the last third of the epochs over that of the first third


def probe_facts(scores: Scores) -> ProbeFacts | None:
    """The average curve, and single curves of a random part of the prompts; None without a probe."""
    if scores.accuracy is None or not scores.accuracy.size:
        return None
    groups = grouped(scores.accuracy)
    # A prompt_id is a hash, so the smallest ones are a random part of the prompts, and always the same part.
    shown = sorted(range(len(scores.ids)), key=lambda index: scores.ids[index])[:MOST_CURVES]
    return ProbeFacts(
        epochs=scores.accuracy.shape[1],
        prompts=len(scores.ids),
        average=_curve(_mean_by_epoch(scores.accuracy)),
        groups={group: int((groups == group).sum()) for group in Group},
        curves=[
            Curve(prompt_id=scores.ids[i], group=Group(groups[i]), accuracy=_curve(scores.accuracy[i])) for i in shown
        ],
    )


def grouped(accuracy: FloatArray) -> NDArray[np.str_]:
    """The `Group` of each prompt, of an array (prompts, epochs) with NaN for gaps."""
    third = max(1, accuracy.shape[1] // 3)
    early, late = _mean_by_prompt(accuracy[:, :third]), _mean_by_prompt(accuracy[:, -third:])
    known = np.isfinite(accuracy)
    return np.select(
        [((accuracy == 0) | ~known).all(axis=1), ((accuracy == 1) | ~known).all(axis=1), late - early >= LEARNED_RISE],
        [Group.NEVER.value, Group.ALWAYS.value, Group.LEARNED.value],
        Group.OTHER.value,
    )


def histogram(scores: Scores, threshold: float | None) -> Histogram | None:
    """About `BINS` bins, one edge on the threshold; a long lower tail (LIM's has no bound) goes into the first bin."""
    known = np.isfinite(scores.scores)
    values, selected = scores.scores[known], scores.selected[known]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if threshold is not None and high > threshold:
        low = max(low, min(0.0, threshold - 4 * (high - threshold)))  # 0 is LIM's score of what was always solved
    width = _nice((high - low) / BINS if high - low > 1e-6 else 1 / BINS)
    origin = threshold if threshold is not None else 0.0
    # Edges and scores are rounded alike: a score on an edge falls to its right, though 0.6 is no binary number.
    positions = np.floor((np.append(values, [low, high]) - origin) / width + 1e-6)
    first, last = int(positions[-2]), int(positions[-1]) + 1
    bins = np.clip(positions[:-2] - first, 0, None).astype(int)
    return Histogram(
        edges=[round(origin + width * edge, 9) for edge in range(first, last + 1)],
        kept=np.bincount(bins[selected], minlength=last - first).tolist(),
        left=np.bincount(bins[~selected], minlength=last - first).tolist(),
        below=int((positions[:-2] < first).sum()),
    )


def examples(scores: Scores) -> list[Example]:
    """A few prompts to look at: the best and last selected, the first of the others, one of each trivial group."""
    groups = grouped(scores.accuracy) if scores.accuracy is not None else None
    chosen = dict.fromkeys(_example_indices(scores, groups))
    return [
        Example(
            prompt=printable(scores.prompts[i] or f"(text unknown) {scores.ids[i]}"),
            score=float(scores.scores[i]),
            selected=bool(scores.selected[i]),
            group=None if groups is None else Group(groups[i]),
            accuracy=[] if scores.accuracy is None else _curve(scores.accuracy[i]),
        )
        for i in chosen
    ]


def _example_indices(scores: Scores, groups: NDArray[np.str_] | None) -> Iterator[int]:
    order = [int(index) for index in np.argsort(-scores.scores, kind="stable")]
    selected = [index for index in order if scores.selected[index]]
    left = [index for index in order if not scores.selected[index]]
    yield from selected[:2]
    yield from selected[-2:]
    yield from left[:2]
    if groups is not None:
        for group in (Group.ALWAYS, Group.NEVER):
            yield from islice((index for index in left if groups[index] == group), 1)
    yield from left[-1:]


def _curve(values: FloatArray) -> list[float | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in values]


def _mean_by_epoch(accuracy: FloatArray) -> FloatArray:
    return _masked_mean(accuracy, axis=0)


def _mean_by_prompt(accuracy: FloatArray) -> FloatArray:
    return _masked_mean(accuracy, axis=1)


def _masked_mean(accuracy: FloatArray, axis: int) -> FloatArray:
    """NaN where nothing is known, without numpy's warning about it."""
    known = np.isfinite(accuracy).sum(axis=axis)
    sums: FloatArray = np.nansum(accuracy, axis=axis)
    means: FloatArray = np.divide(sums, known, out=np.full(sums.shape, np.nan), where=known > 0)
    return means


def _nice(width: float) -> float:
    power = 10.0 ** floor(log10(width))
    return next(size * power for size in (1, 2, 5, 10) if size * power >= width * 0.999)
