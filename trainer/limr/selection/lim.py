"""LIM, the paper's Learning Impact Measurement: how closely a prompt follows the average of all prompts.

    s_i = 1 − Σ_k (r_i^k − r_avg^k)² / Σ_k (1 − r_avg^k)²        (LIMR, arXiv 2502.11886, section 2)

Three readings. `code`: r is accuracy; a gap takes the next epoch's value if that one is there; prompts that still have
gaps get no score and do not count in r_avg; s ≥ θ. `paper`: the same with the mean reward for r, and s > θ.
`corrected`: see `_corrected`.
"""

from __future__ import annotations

import numpy as np

from limr.selection.accuracy import AccuracyMatrix, Floats
from limr.selection.strategy import Request, Scores, Strategy
from limr.spec import Reading


def _score(request: Request) -> Scores:
    assert request.matrix is not None
    match request.reading:
        case Reading.CODE:
            return _published(request.matrix.accuracy, lowest=0.0, strict=False)
        case Reading.PAPER:
            return _published(request.matrix.mean_reward, lowest=_reward_of_failure(request.matrix), strict=True)
        case Reading.CORRECTED:
            return _corrected(request.matrix)


def _published(measured: Floats, lowest: float, strict: bool) -> Scores:
    """`lowest` is what is measured of a prompt that is never solved."""
    filled = _fill_from_next(measured)
    complete = np.asarray(~np.isnan(filled).any(axis=1))
    if not complete.any():
        return Scores(np.full(len(filled), np.nan), complete, strict)
    average = np.array([column[complete].mean() for column in filled.T])
    deviation = sum(((column - mean) ** 2 for column, mean in zip(filled.T, average, strict=True)), np.zeros(1))
    best = ((1 - average) ** 2).sum()
    if best == 0:  # every prompt is always solved, and that scores 0
        return Scores(np.where(complete, 0.0, np.nan), complete, strict)
    never_solved = 1 - ((lowest - average) ** 2).sum() / best
    return Scores(1 - deviation / best, complete, strict, float(never_solved))


def _fill_from_next(measured: Floats) -> Floats:
    """One ascending pass: a gap takes the value of the next epoch where that is measured (so never the last one)."""
    filled = measured.copy(order="F")
    for epoch in range(filled.shape[1] - 1):
        gap = np.isnan(filled[:, epoch])
        filled[gap, epoch] = filled[gap, epoch + 1]
    return filled


def _reward_of_failure(matrix: AccuracyMatrix) -> float:
    """The mean reward of the samples that were not solved."""
    failures = int((matrix.total - matrix.correct).sum())
    solved = int(matrix.correct.sum())
    return float(matrix.reward_sum.sum() / matrix.solved_reward - solved) / failures if failures else 0.0


def _corrected(matrix: AccuracyMatrix) -> Scores:
    """LIM repaired in three places, over the epochs k in which prompt i was seen:

        s_i = 1 − Σ_k (r_i^k − a^k)² / min(Σ_k (1 − a^k)², Σ_k (a^k)²)

    a is the average accuracy of the prompts that were solved sometimes: the others gave no signal to learn from, so
    they have no part in the learning that a stands for. Nothing is filled from the future and nobody is dropped for one
    missing epoch; half of the epochs must be there. Where a is above one half the denominator is LIM's own; below, it
    keeps what a never solved prompt gets at 0 or less, just as LIM does for always solved ones. Neither of the two can
    be selected, at any threshold.
    """
    sometimes = np.asarray(~(matrix.never_solved | matrix.always_solved))
    deviation, above, below, epochs_seen = np.zeros((4, len(matrix.prompt_ids)))
    for accuracy in matrix.accuracy.T:
        seen = ~np.isnan(accuracy)
        voters = seen & sometimes
        average = accuracy[voters].mean() if voters.any() else 0.0
        deviation += np.where(seen, (accuracy - average) ** 2, 0)
        above += seen * (1 - average) ** 2
        below += seen * average**2
        epochs_seen += seen
    scale = np.minimum(above, below)
    # Without scale the average is 0, or 1, wherever the prompt was seen: nothing can be said.
    values = np.where(scale > 0, 1 - np.divide(deviation, scale, out=np.ones_like(scale), where=scale > 0), 0.0)
    values[2 * epochs_seen < matrix.epochs] = np.nan
    return Scores(values, sometimes)


LIM = Strategy(name="lim", score=_score, default_threshold=0.6)
