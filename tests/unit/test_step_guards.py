"""When the steps of a training are suspect, and when a guard trips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.spec import PPO, AccuracyCollapse, Action, GradNormBound, Guards, KLBound, RewardCollapse
from limr.stage import Tripped
from limr.step_guards import Judgement, best_before, judge

OFF = Guards(grad_norm=GradNormBound(times=0), accuracy_collapse=AccuracyCollapse(share=0))
KL = OFF.model_copy(update={"kl": KLBound(above=0.5, steps=3)})
REWARD = OFF.model_copy(update={"reward_collapse": RewardCollapse(drop=0.5, steps=2, action=Action.STOP)})
DEFAULT = Guards()


def judged(guards: Guards, prompts_per_step: int = 64, **metrics: Sequence[float]) -> Judgement:
    """After steps with these metrics, a sequence of values for each name."""
    ppo = PPO.model_validate({"promptsPerStep": prompts_per_step, "samplesPerPrompt": 4, "trainBatchSize": 4})
    steps = [dict(zip(metrics, values, strict=True)) for values in zip(*metrics.values(), strict=True)]
    return judge(guards, ppo, steps)


def trips_at(guards: Guards, prompts_per_step: int = 64, **metrics: Sequence[float]) -> int | None:
    """The step after which a guard trips first."""
    for end in range(1, len(next(iter(metrics.values()))) + 1):
        so_far = {name: values[:end] for name, values in metrics.items()}
        if judged(guards, prompts_per_step, **so_far).alarm:
            return end
    return None


@pytest.mark.parametrize(
    ("kls", "suspect", "trips"),
    [
        ([], False, False),
        ([0.5], False, False),
        ([0.6], True, False),
        ([0.6, 0.6], True, False),
        ([0.6, 0.6, 0.1], False, False),
        ([0.6, 0.6, 0.1, 0.6, 0.6], True, False),
        ([0.1, 0.6, 0.7, 0.8], True, True),
        ([math.nan, math.inf, 0.6], True, True),
    ],
)
def test_kl(kls: list[float], suspect: bool, trips: bool) -> None:
    found = judged(KL, kl=kls)
    assert (found.suspect, found.alarm is not None) == (suspect, trips)


def test_what_a_tripped_guard_says() -> None:
    alarm = judged(KL, kl=[0.1, 0.1, 0.6, 0.7, 0.81]).alarm
    assert alarm is not None
    assert (alarm.reason, alarm.message) == (
        "KLAboveBound",
        "the mean KL from the reference was above guards.kl.above = 0.5 nats per token at steps 3 to 5, 0.81 in the "
        "last",
    )
    assert alarm.tripped == Tripped(guard="kl", action=Action.SUSPEND, settings='{"above":0.5}')


@pytest.mark.parametrize(
    ("rewards", "suspect", "trips"),
    [
        ([0.8, -1.0, -1.0], True, False),  # two steps make the best, so only the third can be low
        ([0.8, 0.6, 0.2, 0.2], False, False),  # exactly the drop below (0.8 + 0.6) / 2
        ([0.8, 0.6, 0.19, 0.3], False, False),
        ([0.8, 0.6, 0.19, 0.19], True, True),
        ([0.1, 0.2, 0.3, 0.4], False, False),
        ([0.0, 0.0, 0.9, 0.9, 0.3, 0.3], True, True),
    ],
)
def test_reward_collapse(rewards: list[float], suspect: bool, trips: bool) -> None:
    found = judged(REWARD, reward_mean=rewards)
    assert (found.suspect, found.alarm is not None) == (suspect, trips)


def test_of_two_that_trip_at_once_the_kl_speaks() -> None:
    both = KL.model_copy(update={"reward_collapse": REWARD.reward_collapse})
    alarm = judged(both, reward_mean=[0.8, 0.8, 0.0, 0.0], kl=[0.1, 0.9, 0.9, 0.9]).alarm
    assert alarm is not None
    assert alarm.reason == "KLAboveBound"


numbers = st.lists(st.floats(-2, 2), max_size=30)


@given(values=numbers)
def test_without_guards_nothing_is_suspect(values: list[float]) -> None:
    assert judged(OFF, reward_mean=values, kl=values, accuracy=np.abs(values), actor_grad_norm=values) == Judgement()


@given(rewards=numbers, steps=st.integers(1, 5), drop=st.floats(0.01, 3))
def test_collapse_is_what_its_definition_says(rewards: list[float], steps: int, drop: float) -> None:
    guard = RewardCollapse(drop=drop, steps=steps)
    low = [_is_low(rewards[: end + 1], steps, drop) for end in range(len(rewards))]
    found = judged(OFF.model_copy(update={"reward_collapse": guard}), reward_mean=rewards)
    assert found.suspect == (low[-1] if low else False)
    assert (found.alarm is not None) == (len(low) >= steps and all(low[-steps:]))


def _is_low(rewards: Sequence[float], steps: int, drop: float) -> bool:
    """Word for word: more than `drop` below the best mean over `steps` steps before it."""
    best = float(best_before(rewards, steps)[-1])
    means = [sum(rewards[end - steps : end]) / steps for end in range(steps, len(rewards))]
    assert best == pytest.approx(max(means, default=-math.inf))
    return rewards[-1] < best - drop


@pytest.mark.parametrize(
    ("norms", "trips"),
    [
        ([0.5] * 20 + [200.0] * 5, 25),
        ([0.5] * 20 + [200.0] * 4 + [0.5] + [200.0] * 4, None),  # never five in a row
        ([0.5] * 20 + [90.0] * 20, None),  # 180 times the median, but below 100 × maxGradNorm
        ([0.0] * 20 + [30.0] * 20, None),  # a run without signal finds one
        ([500.0] * 30, None),  # its usual size
        ([500.0] * 10 + [60_000.0] * 5, 15),
        ([500.0] * 3 + [60_000.0] * 4, None),  # too few steps to know the usual size
    ],
)
def test_gradient_norm(norms: list[float], trips: int | None) -> None:
    assert trips_at(DEFAULT, actor_grad_norm=norms) == trips


def test_what_the_guard_of_gradients_says() -> None:
    alarm = judged(DEFAULT, actor_grad_norm=[2.0] * 9 + [1e4] * 5).alarm
    assert alarm is not None
    assert (alarm.reason, alarm.tripped.guard, alarm.tripped.settings) == ("GradNormAboveBound", "gradNorm", "{}")
    assert alarm.message == (
        "the norm of the policy's gradient was more than guards.gradNorm.times = 100 times its usual size at steps 10 "
        "to 14, 1e+04 in the last; the bound was 200"
    )


@pytest.mark.parametrize(
    ("accuracies", "trips"),
    [
        ([0.45] + [0.0] * 10, 11),  # the base model's own accuracy is known after one step
        ([0.45] + [0.0] * 9 + [0.3] + [0.0] * 9, None),
        ([0.45] * 5 + [0.7] * 20 + [0.1] * 10, 35),
        ([0.45] * 5 + [0.7] * 20 + [0.3] * 40, None),  # worse, not collapsed
        ([0.05] + [0.0] * 20, None),  # 64 prompts are too few to tell 0.05 from nothing
        ([0.15] * 10 + [0.0] * 10, 20),  # 640 are enough to tell 0.15 from nothing
        ([0.05] * 10 + [0.0] * 15, 25),  # and 0.05 when the low steps are more
        ([0.0] * 50, None),
    ],
)
def test_accuracy_collapse(accuracies: list[float], trips: int | None) -> None:
    assert trips_at(DEFAULT, accuracy=accuracies) == trips


def test_while_the_accuracy_is_low_the_steps_are_suspect() -> None:
    assert not judged(DEFAULT, accuracy=[0.5]).suspect
    assert judged(DEFAULT, accuracy=[0.5, 0.0]).suspect
    assert not judged(DEFAULT, accuracy=[0.5, 0.0, 0.5]).suspect


@given(
    accuracies=st.lists(st.floats(0, 1), max_size=40),
    norms=st.lists(st.floats(0, 1e3), max_size=40),
    prompts=st.integers(1, 2048),
)
def test_default_guards_trip_only_on_what_lasts(accuracies: list[float], norms: list[float], prompts: int) -> None:
    """One step in each window that is as good as a third of the best ever, or a norm below the bound, is enough."""
    window = DEFAULT.accuracy_collapse.steps
    if accuracies and max(accuracies[-window:]) >= DEFAULT.accuracy_collapse.share * max(accuracies):
        assert judged(DEFAULT, prompts, accuracy=accuracies).alarm is None
    if norms and min(norms[-DEFAULT.grad_norm.steps :]) <= DEFAULT.grad_norm.times:
        assert judged(DEFAULT, prompts, actor_grad_norm=norms).alarm is None


@given(
    seed=st.integers(0, 2**32),
    prompts=st.sampled_from([4, 16, 64, 1024]),
    start=st.floats(0.02, 0.9),
    end=st.floats(0.02, 0.9),
    spread=st.floats(0, 0.7),
)
def test_healthy_runs_never_trip(seed: int, prompts: int, start: float, end: float, spread: float) -> None:
    """Accuracies that rise from `start` towards `end`, or stay, as few prompts draw them, and spiky gradient norms."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(start, max(start, end), 60)
    accuracies = rng.binomial(prompts, truth) / prompts
    norms = np.exp(rng.normal(0, spread, 60)) * np.where(rng.random(60) < 0.05, 1000, 1)
    assert trips_at(DEFAULT, prompts, accuracy=accuracies.tolist(), actor_grad_norm=norms.tolist()) is None
