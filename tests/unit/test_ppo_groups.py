import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limr.ppo import grpo, rloo

REWARDS = st.floats(-2, 2, width=32)


@st.composite
def grouped_rewards(draw):
    group = draw(st.integers(2, 6))
    return group, draw(st.lists(st.lists(REWARDS, min_size=group, max_size=group), min_size=1, max_size=4))


def test_grpo_example():
    # Mean 1/4; squared deviations (9 + 1 + 1 + 1)/16 over 4 − 1 give a std of 1/2.
    result = grpo.advantages(torch.tensor([1.0, 0.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0]), group=4)
    assert result.tolist() == pytest.approx([0.75 / 0.5001] + [-0.25 / 0.5001] * 3 + [0.0] * 4)


@given(grouped_rewards())
def test_grpo_equals_a_loop(case):
    group, prompts = case
    expected = []
    for rewards in prompts:
        mean, std = statistics.fmean(rewards), statistics.stdev(rewards)
        expected += [(r - mean) / (std + 1e-4) for r in rewards]
    assert grpo.advantages(torch.tensor(prompts).flatten(), group).tolist() == pytest.approx(expected, abs=1e-5)


@given(REWARDS, st.integers(2, 9))
def test_equal_rewards_give_exactly_nothing(reward, group):
    rewards = torch.full((group,), reward)
    assert grpo.advantages(rewards, group).tolist() == [0.0] * group
    assert rloo.advantages(rewards, group).tolist() == [0.0] * group


def test_grpo_kl_loss_is_k3_and_pulls_towards_the_reference():
    logp = torch.tensor([-1.0, -3.0], requires_grad=True)
    loss = grpo.kl_loss(logp, torch.tensor([-2.0, -2.0]), kl_coefficient=0.1)
    assert loss.tolist() == pytest.approx([0.1 * math.exp(-1), 0.1 * (math.e - 2)])
    loss.sum().backward()
    assert logp.grad.tolist() == pytest.approx([0.1 * (1 - math.exp(-1)), 0.1 * (1 - math.e)])


def test_rloo_example():
    result = rloo.advantages(torch.tensor([1.0, 0.0, 2.0, 5.0, 3.0, 3.0]), group=3)
    assert result.tolist() == pytest.approx([0.0, -1.5, 1.5, 2.0, -1.0, -1.0])


@given(grouped_rewards())
def test_rloo_equals_a_loop(case):
    group, prompts = case
    expected = [
        reward - statistics.fmean(rewards[:i] + rewards[i + 1 :])
        for rewards in prompts
        for i, reward in enumerate(rewards)
    ]
    assert rloo.advantages(torch.tensor(prompts).flatten(), group).tolist() == pytest.approx(expected, abs=1e-5)


def test_rloo_charges_each_response_the_kl_of_all_its_tokens():
    kl = torch.tensor([1.0, 2.0, 4.0])
    result = rloo.penalised_rewards(torch.tensor([1.0, -99.0]), kl, torch.tensor([2, 1]), 0.1, reward_clip=10)
    assert result.tolist() == pytest.approx([0.7, -10.4])
