import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limr.ppo.losses import aggregate, importance_weights, policy_loss, value_loss

LOGPS = st.floats(-8, 0, width=32)
NUMBERS = st.floats(-5, 5, width=32)


def clip(x, low, high):
    return max(low, min(high, x))


def naive_policy_loss(logp, old, advantage, low, high, dual):
    ratio = math.exp(clip(logp - old, -20, 20))
    gain = min(ratio * advantage, clip(ratio, 1 - low, 1 + high) * advantage)
    if dual is not None and advantage < 0:
        gain = max(gain, dual * advantage)
    return -gain


@given(st.lists(st.tuples(LOGPS, LOGPS, NUMBERS), min_size=1, max_size=8), st.sampled_from([None, 1.5, 3.0]))
def test_policy_loss_equals_a_loop(tokens, dual):
    logp, old, advantages = (torch.tensor(column) for column in zip(*tokens, strict=True))
    loss, ratio, _ = policy_loss(logp, old, advantages, 0.2, 0.28, dual)
    assert loss.tolist() == pytest.approx([naive_policy_loss(*t, 0.2, 0.28, dual) for t in tokens], rel=1e-4, abs=1e-5)
    assert ratio.tolist() == pytest.approx([math.exp(logp - old) for logp, old, _ in tokens], rel=1e-4)


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual", "loss", "gradient", "clipped"),
    [
        # Without a clip the gradient to log π is −ρÂ; a clip that chose the loss cuts it to 0.
        (1.0, 2.0, None, -2.0, -2.0, False),
        (1.1, 2.0, None, -2.2, -2.2, False),
        (1.5, 2.0, None, -2.6, 0.0, True),  # 1 + 0.3 above
        (0.5, 2.0, None, -1.0, -1.0, False),  # falling ratio of a good token: free to come back
        (1.5, -2.0, None, 3.0, 3.0, False),  # rising ratio of a bad token: free to come back
        (0.5, -2.0, None, 1.6, 0.0, True),  # 1 − 0.2 below
        (5.0, -2.0, None, 10.0, 10.0, False),
        (5.0, -2.0, 3.0, 6.0, 0.0, True),  # the dual clip
        (2.0, -2.0, 3.0, 4.0, 4.0, False),
        (5.0, 2.0, 3.0, -2.6, 0.0, True),  # it only touches negative advantages
        (1.5, 0.0, 3.0, 0.0, 0.0, False),
    ],
)
def test_policy_loss_gradient_and_clipping(ratio, advantage, dual, loss, gradient, clipped):
    logp = torch.tensor([ratio]).log().requires_grad_()
    found, found_ratio, found_clipped = policy_loss(logp, torch.zeros(1), torch.tensor([advantage]), 0.2, 0.3, dual)
    found.sum().backward()
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert logp.grad.item() == pytest.approx(gradient, abs=1e-6)
    assert found_ratio.item() == pytest.approx(ratio)
    assert not found_ratio.requires_grad
    assert found_clipped.item() is clipped


@pytest.mark.parametrize("gap", [1000.0, -1000.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_policy_loss_stays_finite_for_absurd_ratios(gap, advantage):
    logp = torch.tensor([gap], requires_grad=True)
    loss, _, _ = policy_loss(logp, torch.zeros(1), torch.tensor([advantage]), 0.2, 0.2, None)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logp.grad).all()


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=8), st.sampled_from([None, 0.2, 1.0]))
def test_value_loss_equals_a_loop(tokens, epsilon):
    expected = []
    for value, old, ret in tokens:
        near = value if epsilon is None else clip(value, old - epsilon, old + epsilon)
        expected.append(0.5 * max((near - ret) ** 2, (value - ret) ** 2))
    loss = value_loss(*(torch.tensor(column) for column in zip(*tokens, strict=True)), epsilon)
    assert loss.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("value", "old", "ret", "loss", "gradient"),
    [
        (1.1, 1.0, 2.0, 0.405, -0.9),  # within ε of the old value
        (1.5, 1.0, 2.0, 0.32, 0.0),  # moved 0.5 towards the target: (1.2 − 2)²/2 and no push to go on
        (0.5, 1.0, 2.0, 1.125, -1.5),  # moved away: free to come back
    ],
)
def test_value_loss_gradient_is_cut_beyond_the_clip(value, old, ret, loss, gradient):
    values = torch.tensor([value], requires_grad=True)
    found = value_loss(values, torch.tensor([old]), torch.tensor([ret]), 0.2)
    found.sum().backward()
    assert found.item() == pytest.approx(loss)
    assert values.grad.item() == pytest.approx(gradient, abs=1e-6)


def test_importance_weights_are_truncated_and_carry_no_gradient():
    old = torch.tensor([0.0, -1.0, -1.0, 100.0, -200.0], requires_grad=True)
    rollout = torch.tensor([0.0, -1.0 - math.log(2), -3.0, -100.0, 0.0])
    weights = importance_weights(old, rollout, 0.5, 5.0)
    assert weights.tolist() == pytest.approx([1.0, 2.0, 5.0, 5.0, 0.5])
    assert not weights.requires_grad


def test_aggregate_example():
    loss = torch.tensor([1.0, 2.0, 6.0])
    assert aggregate(loss, total_tokens=12).item() == 0.75
    assert aggregate(loss, total_tokens=12, mean_per_microbatch=True).item() == 3


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.permutations(range(30)), st.integers(1, 7))
def test_aggregate_does_not_depend_on_order_or_shards(losses, order, size):
    shuffled = [losses[i] for i in order if i < len(losses)]
    parts = [aggregate(part, len(losses)) for part in torch.tensor(shuffled).split(size)]
    assert sum(parts).item() == pytest.approx(math.fsum(losses) / len(losses), abs=1e-5)


def test_mean_per_microbatch_does_depend_on_shards():
    loss = torch.tensor([0.0, 0.0, 0.0, 4.0])
    shares = [torch.stack([aggregate(x, 4, True) for x in loss.split(sizes)]).mean() for sizes in ([2, 2], [3, 1])]
    assert shares[0] == 1
    assert shares[1] == 2
