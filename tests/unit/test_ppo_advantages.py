import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limr.ppo.advantages import gae, token_rewards
from limr.ppo.flat import per_token, sum_per_sequence

NUMBERS = st.floats(-5, 5, width=32)
RATES = st.sampled_from([0.0, 0.5, 0.95, 1.0])


@st.composite
def batches(draw):
    """Sequences of (KL or reward, value) pairs, one a token, and one reward a sequence."""
    tokens = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6)
    return draw(st.lists(st.tuples(tokens, st.floats(-20, 20, width=32)), min_size=1, max_size=5))


def flatten(batch):
    tokens = torch.tensor([token for sequence, _ in batch for token in sequence])
    lengths = torch.tensor([len(sequence) for sequence, _ in batch])
    return tokens[:, 0], tokens[:, 1], lengths, torch.tensor([reward for _, reward in batch])


def naive_gae(rewards, values, gamma, lam):
    """One sequence, as anchors write it: from t = T with V_{T+1} = 0."""
    advantages = [0.0] * len(rewards)
    next_advantage = next_value = 0.0
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_value - values[t]
        advantages[t] = next_advantage = delta + gamma * lam * next_advantage
        next_value = values[t]
    return advantages, [a + v for a, v in zip(advantages, values, strict=True)]


def test_token_rewards_example():
    kl = torch.tensor([1.0, 2.0, 3.0])
    result = token_rewards(torch.tensor([1.0, -50.0]), kl, torch.tensor([2, 1]), kl_coefficient=0.1, reward_clip=10)
    assert result.tolist() == pytest.approx([-0.1, 0.8, -10.3])
    assert kl.tolist() == [1.0, 2.0, 3.0]


@given(batches())
def test_token_rewards_equal_a_loop(batch):
    kl, _, lengths, rewards = flatten(batch)
    expected = []
    for sequence, reward in batch:
        for t, (k, _) in enumerate(sequence):
            last = t == len(sequence) - 1
            expected.append(-0.01 * k + (max(-10.0, min(10.0, reward)) if last else 0.0))
    assert token_rewards(rewards, kl, lengths, 0.01, 10.0).tolist() == pytest.approx(expected, abs=1e-5)


def test_gae_example():
    # γ = 0.5, λ = 0.5, second sequence of one token: δ = (0 + 0.5·2 − 1, 4 − 2) = (0, 2), A = (0 + 0.25·2, 2).
    rewards, values = torch.tensor([0.0, 4.0, 3.0]), torch.tensor([1.0, 2.0, 1.0])
    advantages, returns = gae(rewards, values, torch.tensor([2, 1]), gamma=0.5, lam=0.5)
    assert advantages.tolist() == [0.5, 2.0, 2.0]
    assert returns.tolist() == [1.5, 4.0, 3.0]


@given(batches(), RATES, RATES)
def test_gae_equals_a_loop_over_each_sequence(batch, gamma, lam):
    rewards, values, lengths, _ = flatten(batch)
    advantages, returns = gae(rewards, values, lengths, gamma, lam)
    expected = [naive_gae([r for r, _ in tokens], [v for _, v in tokens], gamma, lam) for tokens, _ in batch]
    assert advantages.tolist() == pytest.approx([a for sequence, _ in expected for a in sequence], abs=1e-4)
    assert returns.tolist() == pytest.approx([r for _, sequence in expected for r in sequence], abs=1e-4)


@given(batches())
def test_with_both_rates_1_the_advantage_is_all_future_reward_minus_the_value(batch):
    rewards, values, lengths, _ = flatten(batch)
    _, returns = gae(rewards, values, lengths, 1.0, 1.0)
    expected = [sum(r for r, _ in tokens[t:]) for tokens, _ in batch for t in range(len(tokens))]
    assert returns.tolist() == pytest.approx(expected, abs=1e-4)


@given(batches())
def test_with_lambda_0_the_advantage_is_the_temporal_difference(batch):
    rewards, values, lengths, _ = flatten(batch)
    advantages, _ = gae(rewards, values, lengths, 1.0, 0.0)
    expected = []
    for tokens, _ in batch:
        following = [v for _, v in tokens[1:]] + [0.0]
        expected += [r + n - v for (r, v), n in zip(tokens, following, strict=True)]
    assert advantages.tolist() == pytest.approx(expected, abs=1e-5)


def test_gae_of_a_sequence_does_not_depend_on_its_company():
    torch.manual_seed(0)
    lengths = torch.tensor([3, 7, 1, 5])
    rewards, values = torch.randn(16), torch.randn(16)
    together = gae(rewards, values, lengths, 1.0, 0.95)
    alone = [
        gae(r, v, torch.tensor([len(r)]), 1.0, 0.95)
        for r, v in zip(rewards.split(lengths.tolist()), values.split(lengths.tolist()), strict=True)
    ]
    for index in range(2):
        assert torch.equal(together[index], torch.cat([pair[index] for pair in alone]))


def test_gae_is_exact_over_a_long_response():
    # 4,096 rewards of 0.1 in float32: a float32 running sum would be off by 1e-2, beyond this tolerance.
    n = 4096
    advantages, _ = gae(torch.full((n,), 0.1), torch.zeros(n), torch.tensor([n]), 1.0, 1.0)
    assert advantages[0].item() == pytest.approx(n * torch.tensor(0.1).item(), rel=1e-7)


def test_sums_per_sequence_are_exact():
    n = 4096
    sums = sum_per_sequence(torch.full((n + 1,), 0.1), torch.tensor([n, 1]))
    assert sums.tolist() == pytest.approx([n * torch.tensor(0.1).item(), torch.tensor(0.1).item()], rel=1e-12)


@given(batches())
def test_flat_helpers_equal_loops(batch):
    x, _, lengths, rewards = flatten(batch)
    assert per_token(rewards, lengths).tolist() == [float(r) for tokens, r in batch for _ in tokens]
    assert sum_per_sequence(x, lengths).tolist() == pytest.approx([sum(x for x, _ in tokens) for tokens, _ in batch])
