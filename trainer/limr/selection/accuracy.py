"""How often each prompt was solved in each epoch: all that selection needs to know of a training.

Counts, not rates, so that the matrices of parts of a training add up. A cell without samples is a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AccuracyMatrix:
    """N prompts × K epochs. Row i belongs to prompt_ids[i], column k to epoch k + 1."""

    prompt_ids: list[str]  # sorted, each once
    correct: NDArray[np.int32]  # [N, K] samples whose reward was exactly `solved_reward`
    total: NDArray[np.int32]  # [N, K] samples
    reward_sum: Floats  # [N, K]
    solved_reward: float = 1.0

    @property
    def epochs(self) -> int:
        return int(self.total.shape[1])

    @cached_property
    def accuracy(self) -> Floats:
        """[N, K] share of samples solved; NaN in a gap."""
        return self._per_sample(self.correct)

    @cached_property
    def mean_reward(self) -> Floats:
        """[N, K] mean reward in units of the reward of a correct answer, so that 1 is the best; NaN in a gap."""
        return self._per_sample(self.reward_sum) / self.solved_reward

    @cached_property
    def average(self) -> Floats:
        """[K] mean accuracy of the prompts seen in each epoch; NaN in an epoch without samples."""
        seen = (self.total > 0).sum(axis=0)
        sums = np.nansum(self.accuracy, axis=0)
        return np.asarray(np.divide(sums, seen, out=np.full(self.epochs, np.nan), where=seen > 0))

    @cached_property
    def never_solved(self) -> NDArray[np.bool_]:
        """[N] seen, and not one sample solved."""
        return np.asarray((self.total.sum(axis=1) > 0) & (self.correct.sum(axis=1) == 0))

    @cached_property
    def always_solved(self) -> NDArray[np.bool_]:
        """[N] seen, and every sample solved."""
        total = self.total.sum(axis=1)
        return np.asarray((total > 0) & (self.correct.sum(axis=1) == total))

    def first(self, epochs: int) -> AccuracyMatrix:
        """The same training, had it ended after that many epochs."""
        return replace(
            self,
            correct=self.correct[:, :epochs],
            total=self.total[:, :epochs],
            reward_sum=self.reward_sum[:, :epochs],
        )

    def _per_sample(self, sums: NDArray[np.int32] | Floats) -> Floats:
        # Column-major like the counts, because readings go from epoch to epoch.
        return np.divide(sums, self.total, out=np.full_like(self.reward_sum, np.nan), where=self.total > 0)


def merge(parts: Sequence[AccuracyMatrix]) -> AccuracyMatrix:
    """The matrix of all parts' samples together. All must agree on `solved_reward`."""
    prompt_ids = sorted(set().union(*(part.prompt_ids for part in parts)))
    row = {name: index for index, name in enumerate(prompt_ids)}
    shape = (len(prompt_ids), max(part.epochs for part in parts))
    merged = AccuracyMatrix(
        prompt_ids,
        np.zeros(shape, np.int32, order="F"),
        np.zeros(shape, np.int32, order="F"),
        np.zeros(shape, np.float64, order="F"),
        parts[0].solved_reward,
    )
    for part in parts:
        rows = np.fromiter((row[name] for name in part.prompt_ids), np.int64, len(part.prompt_ids))
        merged.correct[rows, : part.epochs] += part.correct
        merged.total[rows, : part.epochs] += part.total
        merged.reward_sum[rows, : part.epochs] += part.reward_sum
    return merged
