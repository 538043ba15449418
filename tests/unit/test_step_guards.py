"""When the steps of a training are suspect, and when a guard trips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.spec import Action, Guards, KLBound, RewardCollapse
from limr.stage import Tripped
from limr.step_guards import Judgement, best_before, judge

KL = Guards(kl=KLBound(above=0.5, steps=3))
REWARD = Guards(reward_collapse=RewardCollapse(drop=0.5, steps=2, action=Action.STOP))


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
    judged = judge(KL, [0.0] * len(kls), kls)
    assert (judged.suspect, judged.alarm is not None) == (suspect, trips)


def test_what_a_tripped_guard_says() -> None:
    alarm = judge(KL, [0.0] * 5, [0.1, 0.1, 0.6, 0.7, 0.81]).alarm
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
    judged = judge(REWARD, rewards, [])
    assert (judged.suspect, judged.alarm is not None) == (suspect, trips)


def test_of_two_that_trip_at_once_the_kl_speaks() -> None:
    both = Guards(kl=KL.kl, reward_collapse=REWARD.reward_collapse)
    alarm = judge(both, [0.8, 0.8, 0.0, 0.0], [0.1, 0.9, 0.9, 0.9]).alarm
    assert alarm is not None
    assert alarm.reason == "KLAboveBound"


numbers = st.lists(st.floats(-2, 2), max_size=30)


@given(rewards=numbers, kls=numbers)
def test_without_guards_nothing_is_suspect(rewards: list[float], kls: list[float]) -> None:
    assert judge(Guards(), rewards, kls) == Judgement()


@given(rewards=numbers, steps=st.integers(1, 5), drop=st.floats(0.01, 3))
def test_collapse_is_what_its_definition_says(rewards: list[float], steps: int, drop: float) -> None:
    guard = RewardCollapse(drop=drop, steps=steps)
    low = [_is_low(rewards[: end + 1], steps, drop) for end in range(len(rewards))]
    judged = judge(Guards(reward_collapse=guard), rewards, [])
    assert judged.suspect == (low[-1] if low else False)
    assert (judged.alarm is not None) == (len(low) >= steps and all(low[-steps:]))


def _is_low(rewards: Sequence[float], steps: int, drop: float) -> bool:
    """Word for word: more than `drop` below the best mean over `steps` steps before it."""
    best = float(best_before(rewards, steps)[-1])
    means = [sum(rewards[end - steps : end]) / steps for end in range(steps, len(rewards))]
    assert best == pytest.approx(max(means, default=-math.inf))
    return rewards[-1] < best - drop
