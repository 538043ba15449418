"""Which prompts a step trains on: a function of (seed, step), so that a restart needs no stored position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PromptSampler:
    """Each epoch is a new shuffle, cut into whole steps; as in the paper, the rest of a shuffle is not used.

    Fewer prompts than a step takes make one step an epoch, with some prompts in it twice.
    """

    prompts: int
    prompts_per_step: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.prompts // self.prompts_per_step)

    def epoch(self, step: int) -> int:
        """The epoch, from 1, of `step`, from 1."""
        return (step - 1) // self.steps_per_epoch + 1

    def indices(self, step: int) -> NDArray[np.int64]:
        """[prompts_per_step] indices of prompts."""
        order = np.random.default_rng([self.seed, self.epoch(step)]).permutation(self.prompts)
        start = (step - 1) % self.steps_per_epoch * self.prompts_per_step
        return np.resize(order, max(self.prompts, self.prompts_per_step))[start : start + self.prompts_per_step]
