"""A stop in the middle of a step: whether to finish the step or to drop it.

A stop is to be honoured within STOP_SECONDS, with what is done kept. Until its updates begin, a step can be dropped
without loss. From then on the learners' state is that of no step, so either the step ends in time, or the state at its
beginning is needed again: it is held aside before the updates of a step that is expected to be too long to finish.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from limr.stage import STOP_SECONDS

# For the rest of the step; what is left is for the checkpoint.
FINISH_SECONDS = STOP_SECONDS / 2
# Holding a state aside may take this share of a step; a slower disk leaves it to checkpoint.everySteps.
HOLDING_SHARE = 0.05


class StopRequested(Exception):
    """Ends what is at work: the stage was asked to stop and the step in flight is dropped."""


@dataclass(frozen=True)
class LastStep:
    """What the step before took, in seconds; None: not known yet."""

    training: float | None = None  # all its updates
    afterwards: float = 0.0  # from its last update to its end
    total: float = 0.0
    holding: float = 0.0  # to hold a state aside, when that was done last


def rest_seconds(last: LastStep, done: int, size: int, elapsed: float) -> float | None:
    """How long the step will take from here: `done` of its `size` updates were made in `elapsed` seconds.

    None when nothing tells.
    """
    if done:
        return elapsed / done * (size - done) + last.afterwards
    if last.training is None:
        return None
    return max(0.0, last.training - elapsed) + last.afterwards


def finish(rest: float | None, since_stop: float) -> bool:
    """Whether to finish the step, `since_stop` seconds after the stop was asked for."""
    return rest is not None and since_stop + rest <= FINISH_SECONDS


def hold(last: LastStep) -> bool:
    """Whether to hold the learners' state aside before the updates of the next step."""
    if last.training is None or last.training + last.afterwards <= FINISH_SECONDS:
        return False
    return last.holding <= HOLDING_SHARE * last.total


class StepClock:
    """Where a step is between the first of its updates and its end, and what the step before took."""

    def __init__(self) -> None:
        self.last = LastStep()
        self._began: float | None = None
        self._trained: float | None = None
        self._done = self._size = 0
        self._stop_since: float | None = None

    @property
    def updating(self) -> bool:
        """Whether the learners' state is that of no step."""
        return self._began is not None

    def begin_updates(self) -> None:
        self._began, self._trained, self._done, self._size = time.monotonic(), None, 0, 0

    def update(self, done: int, size: int) -> None:
        self._done, self._size = done, size
        if done == size:
            self._trained = time.monotonic()

    def end_step(self, seconds: float, holding: float | None) -> None:
        """The step took `seconds` in all, and `holding` to hold a state aside if it did."""
        assert self._began is not None, "begin_updates came before"
        assert self._trained is not None, "a step has updates"
        self.last = LastStep(
            training=self._trained - self._began,
            afterwards=time.monotonic() - self._trained,
            total=seconds,
            holding=self.last.holding if holding is None else holding,
        )
        self._began = None

    def must_drop(self) -> bool:
        """Whether the step cannot end in time; the first call is when the stop was noticed."""
        now = time.monotonic()
        self._stop_since = self._stop_since or now
        if self._began is None:
            return True
        rest = rest_seconds(self.last, self._done, self._size, now - self._began)
        return not finish(rest, now - self._stop_since)
