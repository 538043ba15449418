"""The guards that look at a training's steps (spec.guards): which are suspect, and when that has lasted too long.

Pure, from the metrics of all steps so far, so that an attempt which goes on from a checkpoint judges as one that was
never interrupted. The training makes no checkpoint after a suspect step: each that there is, is good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from limr.spec import Guards, KLBound, RewardCollapse
from limr.stage import Tripped


@dataclass(frozen=True)
class Alarm:
    """A guard has tripped."""

    tripped: Tripped
    reason: str  # CamelCase, for conditions
    message: str


@dataclass(frozen=True)
class Judgement:
    suspect: bool = False  # whether the last step is beyond a guard's bound
    alarm: Alarm | None = None  # when that has lasted for as many steps as the guard allows


def judge(guards: Guards, rewards: Sequence[float], kls: Sequence[float]) -> Judgement:
    """What the guards say after the last of these steps; where two trip at once the KL speaks, as the likely cause.

    `rewards`: the mean reward of every step from the first; `kls`: its mean KL from the reference, nats per token.
    """
    judgements = [
        _kl(guards.kl, kls) if guards.kl else Judgement(),
        _reward(guards.reward_collapse, rewards) if guards.reward_collapse else Judgement(),
    ]
    alarms = (judgement.alarm for judgement in judgements if judgement.alarm)
    return Judgement(any(judgement.suspect for judgement in judgements), next(alarms, None))


def _kl(guard: KLBound, kls: Sequence[float]) -> Judgement:
    high = _trailing([not kl <= guard.above for kl in kls])  # NaN is above every bound
    if high < guard.steps:
        return Judgement(high > 0)
    message = (
        f"the mean KL from the reference was above guards.kl.above = {guard.above:g} nats per token "
        f"{_at(high, len(kls))}, {kls[-1]:.3g} in the last"
    )
    return Judgement(True, Alarm(Tripped.by("kl", guard), "KLAboveBound", message))


def _reward(guard: RewardCollapse, rewards: Sequence[float]) -> Judgement:
    best = best_before(rewards, guard.steps)
    low = _trailing((~(np.asarray(rewards) >= best - guard.drop)).tolist())
    if low < guard.steps:
        return Judgement(low > 0)
    message = (
        f"the mean reward was more than guards.rewardCollapse.drop = {guard.drop:g} below its best "
        f"{_at(low, len(rewards))}, {rewards[-1]:.3g} in the last; the best was {best[-1]:.3g} over {guard.steps} steps"
    )
    return Judgement(True, Alarm(Tripped.by("rewardCollapse", guard), "RewardCollapsed", message))


def best_before(rewards: Sequence[float], window: int) -> NDArray[np.float64]:
    """For each step the highest mean over `window` steps in a row before it; -inf where there are too few."""
    best = np.full(len(rewards), -np.inf)
    if len(rewards) > window:
        means = np.lib.stride_tricks.sliding_window_view(np.asarray(rewards, np.float64), window).mean(axis=1)
        best[window:] = np.maximum.accumulate(means)[:-1]
    return best


def _trailing(flags: Sequence[bool]) -> int:
    """How many of the last ones in a row are true."""
    return sum(1 for _ in takewhile(bool, reversed(flags)))


def _at(count: int, last: int) -> str:
    return f"at step {last}" if count == 1 else f"at steps {last - count + 1} to {last}"
