"""Which of the scored prompts are kept, and what to tell a person when that is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limr.errors import LimrError
from limr.selection.accuracy import Floats
from limr.selection.strategy import Scores

SUGGESTED_SHARE = 0.1


@dataclass(frozen=True)
class Rule:
    """The best `count` of those beyond the threshold; without a count all of them, without a threshold the best."""

    threshold: float | None = None
    count: int | None = None
    round_digits: int | None = None


def rounded(values: Floats, digits: int | None) -> Floats:
    """To decimal digits as a person rounds; numpy's own rounding is off where x · 10^digits is not exact."""
    return values if digits is None else np.array([round(value, digits) for value in values.tolist()], np.float64)


def pick(scores: Scores, rule: Rule) -> NDArray[np.bool_]:
    """[N] which prompts are kept. Ties go to the smaller prompt_id, which is the earlier row.

    Never more than there are; what that means is for the caller to say.
    """
    kept = candidates(scores)
    if rule.threshold is not None:
        kept &= scores.values > rule.threshold if scores.strict else scores.values >= rule.threshold
    if rule.count is not None:
        order = np.argsort(np.where(kept, -scores.values, np.inf), kind="stable")
        best = np.zeros_like(kept)
        best[order[: rule.count]] = True
        kept &= best
    return kept


def candidates(scores: Scores) -> NDArray[np.bool_]:
    return np.asarray(scores.eligible & ~np.isnan(scores.values))


def check(scores: Scores, kept: NDArray[np.bool_], rule: Rule, strategy: str) -> None:
    """Raises LimrError when nothing is kept, or less than the count that was asked for."""
    possible = scores.values[candidates(scores)]
    if not len(possible):
        raise LimrError(
            f"{strategy} can select no prompt: of {np.count_nonzero(~np.isnan(scores.values))} scored ones none may be "
            "selected; look at their accuracies, or take another strategy"
        )
    if not kept.any():
        raise LimrError(
            f"threshold {rule.threshold:g} selects nothing: scores go from {possible.min():.4g} to "
            f"{possible.max():.4g}; {_threshold_for(possible, SUGGESTED_SHARE, scores.strict):g} would select "
            f"{SUGGESTED_SHARE:.0%} of them"
        )
    if rule.count is not None and kept.sum() < rule.count:
        raise LimrError(
            f"{strategy} can select only {int(kept.sum())} prompts, not {rule.count}; ask for fewer, or lower the "
            "threshold"
        )


def _threshold_for(values: Floats, share: float, strict: bool) -> float:
    """With four digits, a threshold that at least `share` of `values` pass."""
    last = np.sort(values)[-math.ceil(share * len(values))]
    return float((math.ceil(last * 1e4) - 1 if strict else math.floor(last * 1e4)) / 1e4)
