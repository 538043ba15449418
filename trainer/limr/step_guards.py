"""The guards that look at a training's steps (spec.guards): which are suspect, and when that has lasted too long.

Pure, from the metrics of all steps so far, so that an attempt which goes on from a checkpoint judges as one that was
never interrupted. The training makes no checkpoint after a suspect step: each that there is, is good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limr.spec import PPO, AccuracyCollapse, GradNormBound, Guards, KLBound, RewardCollapse
from limr.stage import Tripped

SURE = 3.0  # standard errors


@dataclass(frozen=True)
class Alarm:
    """A guard has tripped."""

    tripped: Tripped
    reason: str  # CamelCase, for conditions
    message: str
    report: str = ""  # the same in few words, for a list of trainings


@dataclass(frozen=True)
class Judgement:
    suspect: bool = False  # whether the last step is beyond a guard's bound
    alarm: Alarm | None = None  # when that has lasted for as many steps as the guard allows


def judge(guards: Guards, ppo: PPO, steps: Sequence[Mapping[str, float]]) -> Judgement:
    """What the guards say after the last of these steps; where several trip at once, the likeliest cause speaks.

    `steps`: the metrics of every step from the first. A step without a metric is passed over by the guard that reads
    it: there is no `kl` without a reference.
    """
    norms, kls, rewards, accuracies = (
        [step[name] for step in steps if name in step] for name in ("actor_grad_norm", "kl", "reward_mean", "accuracy")
    )
    judgements = [
        _grad_norm(guards.grad_norm, norms, ppo.max_grad_norm) if guards.grad_norm.times else Judgement(),
        _kl(guards.kl, kls) if guards.kl else Judgement(),
        _reward(guards.reward_collapse, rewards) if guards.reward_collapse else Judgement(),
        _accuracy(guards.accuracy_collapse, accuracies, ppo.prompts_per_step),
    ]
    alarms = (judgement.alarm for judgement in judgements if judgement.alarm)
    return Judgement(any(judgement.suspect for judgement in judgements), next(alarms, None))


def non_finite(guards: Guards, error: Exception) -> Alarm:
    """What guards.nonFinite says of a NonFinite that ended a step."""
    return Alarm(Tripped.by("nonFinite", guards.non_finite), "NonFinite", str(error))


def _grad_norm(guard: GradNormBound, norms: Sequence[float], max_grad_norm: float) -> Judgement:
    """A step is high above times × max(median of all steps before it, maxGradNorm).

    The median stays where it was while fewer than half of the steps are high. What clipping lets through is harmless,
    so maxGradNorm is the least bound: the norms of a run without signal, near 0, are no measure for those with one.
    """
    bounds = [guard.times * max(float(np.median(norms[:end])), max_grad_norm) for end in range(1, len(norms))]
    # Before `steps` steps there is no usual size.
    high = _trailing([not norm <= bound for norm, bound in zip(norms[1:], bounds, strict=True)][guard.steps - 1 :])
    if high < guard.steps:
        return Judgement(high > 0)
    message = (
        f"the norm of the policy's gradient was more than guards.gradNorm.times = {guard.times:g} times its usual size "
        f"{_at(high, len(norms))}, {norms[-1]:.3g} in the last; the bound was {bounds[-1]:.3g}"
    )
    return Judgement(
        True, Alarm(Tripped.by("gradNorm", guard), "GradNormAboveBound", message, f"gradient norm {norms[-1]:.3g}")
    )


def _accuracy(guard: AccuracyCollapse, accuracies: Sequence[float], prompts_per_step: int) -> Judgement:
    """A step is low below share × `best_accuracy`; it trips once chance cannot explain all the low ones in a row."""
    best = best_accuracy(accuracies, guard.steps, prompts_per_step)
    low = _trailing((~(np.asarray(accuracies) >= guard.share * best)).tolist())
    if low < guard.steps:
        return Judgement(low > 0)
    at_most = _bounds(np.mean(accuracies[-low:]), low * prompts_per_step)[1]
    if at_most >= guard.share * best[-1]:
        return Judgement(True)
    message = (
        f"the training accuracy was below guards.accuracyCollapse.share = {guard.share:g} of its best "
        f"{_at(low, len(accuracies))}, {accuracies[-1]:.1%} in the last; the best was at least {best[-1]:.1%}"
    )
    report = f"training accuracy {accuracies[-1]:.1%} after at least {best[-1]:.1%}"
    return Judgement(True, Alarm(Tripped.by("accuracyCollapse", guard), "AccuracyCollapsed", message, report))


def best_accuracy(accuracies: Sequence[float], window: int, prompts_per_step: int) -> NDArray[np.float64]:
    """For each step, what the accuracy of the steps before it has surely reached; 0 before the first.

    The highest lower bound of the mean over the last `window` steps before a step, or over as many as there are, so
    that a run which goes wrong at once is measured by the base model's accuracy.
    """
    values = np.asarray(accuracies, np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values))
    counts = np.minimum(ends, window)
    lowest, _ = _bounds((sums[ends] - sums[ends - counts]) / counts, counts * prompts_per_step)
    best = np.zeros(len(values))
    best[1:] = np.maximum.accumulate(lowest)
    return best


def _bounds(mean: ArrayLike, prompts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's interval (1927) of `SURE` standard errors around an accuracy, by the prompts that it was measured on.

    Responses to one prompt are alike, so that a prompt counts once however many there are.
    """
    mean, n, z2 = np.clip(mean, 0, 1), np.asarray(prompts, np.float64), SURE**2
    middle = mean + z2 / (2 * n)
    half = SURE * np.sqrt(mean * (1 - mean) / n + z2 / (4 * n**2))
    return (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)


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
