"""Can a selection be trusted? What it selected, how good the training was that it rests on, and how stable it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limr.selection.accuracy import AccuracyMatrix

Mask = NDArray[np.bool_]

LOOK_BACK = 5  # epochs
STABLE = 0.9  # Jaccard index with the subset of one epoch earlier
WEAK = 0.5  # average accuracy below which LIM's formula begins to favour what is never solved
WHOLE = 0.8  # the last epoch's prompts, relative to the other epochs


@dataclass(frozen=True)
class Trust:
    selected: int
    scored: int
    never_solved: int  # of the selected
    always_solved: int
    average: list[float | None]  # [K] accuracy of all prompts seen in each epoch; None when nobody was seen
    coverage: list[float]  # [K] share of the prompts that were seen in each epoch
    never_solved_score: float | None  # what the strategy's formula gives a prompt that is never solved
    stability: list[tuple[int, float]]  # (epochs, Jaccard index of the subset from so many epochs with this one)

    @property
    def mean_accuracy(self) -> float:
        seen = [value for value in self.average if value is not None]
        return sum(seen) / len(seen)


def judge(
    matrix: AccuracyMatrix,
    kept_rows: NDArray[np.intp],
    scored: int,
    never_solved_score: float | None,
    stability: list[tuple[int, float]],
) -> Trust:
    """`kept_rows` are the matrix' rows of the selected prompts that it has."""
    return Trust(
        selected=len(kept_rows),
        scored=scored,
        never_solved=int(matrix.never_solved[kept_rows].sum()),
        always_solved=int(matrix.always_solved[kept_rows].sum()),
        average=[None if np.isnan(value) else float(value) for value in matrix.average],
        coverage=[float(value) for value in (matrix.total > 0).mean(axis=0)],
        never_solved_score=never_solved_score,
        stability=stability,
    )


def stability(matrix: AccuracyMatrix, kept: Mask, choose: Callable[[AccuracyMatrix], Mask]) -> list[tuple[int, float]]:
    """How much the subset would have been the same, had the training ended one, two, … epochs earlier."""
    earlier = range(matrix.epochs - 1, max(0, matrix.epochs - 1 - LOOK_BACK), -1)
    return [(epochs, jaccard(kept, choose(matrix.first(epochs)))) for epochs in earlier]


def jaccard(one: Mask, other: Mask) -> float:
    """Size of the intersection by size of the union; 1 for two empty sets."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def warnings(trust: Trust, threshold: float | None) -> list[str]:
    """Sentences for a person, most serious first; none when nothing speaks against the selection."""
    found = [
        _nothing_solved(trust),
        _never_solved(trust),
        _weak(trust, threshold),
        _always_solved(trust),
        _unstable(trust),
        _everything(trust),
        _incomplete(trust),
    ]
    return [sentence for sentence in found if sentence]


def _nothing_solved(trust: Trust) -> str | None:
    if any(trust.average):
        return None
    return "no sample has the reward of a correct answer, so no prompt counts as solved; check the rewards"


def _never_solved(trust: Trust) -> str | None:
    if not trust.never_solved:
        return None
    share = _share(trust.never_solved, trust.selected)
    return (
        f"{trust.never_solved} of the {trust.selected} selected prompts ({share}) were never solved: they gave no "
        "correct answer to learn from, so they did not shape the training that selects them"
    )


def _weak(trust: Trust, threshold: float | None) -> str | None:
    if trust.never_solved_score is None or trust.mean_accuracy >= WEAK:
        return None
    compared = f" (threshold {threshold:g})" if threshold is not None else ""
    return (
        f"the average accuracy is {trust.mean_accuracy:.2f}, below one half: there the formula gives a prompt that is "
        f"never solved {trust.never_solved_score:.2f}{compared}, and a weak run selects what it never solves; train "
        "the probe longer, or take the reading 'corrected'"
    )


def _always_solved(trust: Trust) -> str | None:
    if not trust.always_solved:
        return None
    share = _share(trust.always_solved, trust.selected)
    return (
        f"{trust.always_solved} of the {trust.selected} selected prompts ({share}) were always solved: nothing is left "
        "to learn from them"
    )


def _unstable(trust: Trust) -> str | None:
    if not trust.stability:
        return "one epoch is too few to see whether the subset is stable; train the probe longer"
    epochs, index = trust.stability[0]
    if index >= STABLE:
        return None
    return (
        f"the subset is still changing: with {epochs} epochs instead of {len(trust.average)} only {index:.0%} of the "
        "prompts in either subset are in both; train the probe longer"
    )


def _everything(trust: Trust) -> str | None:
    if trust.selected < trust.scored:
        return None
    return f"all {trust.scored} scored prompts are selected: nothing was told apart"


def _incomplete(trust: Trust) -> str | None:
    last, others = trust.coverage[-1], trust.coverage[:-1]
    if not others or last >= WHOLE * float(np.median(others)):
        return None
    return (
        f"the last epoch has samples of only {last:.0%} of the prompts, the others of {np.median(others):.0%}; if it "
        f"was cut short, leave it out: --epochs {len(others)}"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}"
