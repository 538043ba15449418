"""A real learner that takes seconds for each minibatch, for tests of what happens in the middle of a step."""

from __future__ import annotations

import time

from limr.learner.learner import Learner

SECONDS = 3.0


class SlowLearner(Learner):
    def measure_minibatch(self, index: int) -> None:
        time.sleep(SECONDS)
        super().measure_minibatch(index)

    def update(self, index: int) -> None:
        time.sleep(SECONDS)
        super().update(index)
