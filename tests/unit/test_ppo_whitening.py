import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limr.ppo.whitening import moments, whiten


def naive(values):
    """Two passes with exact sums."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((x - mean) ** 2 for x in values) / len(values)
    return [(x - mean) / math.sqrt(max(variance, 1e-8)) for x in values]


def test_example():
    x = torch.tensor([1.0, 3.0])  # mean 2, population variance 1
    assert moments(x).tolist() == [2.0, 4.0, 10.0]
    assert whiten(x, moments(x)).tolist() == [-1.0, 1.0]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30))
def test_equals_two_exact_passes(values):
    x = torch.tensor(values)
    assert whiten(x, moments(x)).tolist() == pytest.approx(naive(values), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("shift", [0.0, 1e2, 1e4, 1e6])
def test_one_pass_is_enough_for_shifted_float32(shift):
    torch.manual_seed(0)
    x = torch.randn(10_000) + shift
    assert whiten(x, moments(x)).tolist() == pytest.approx(naive(x.tolist()), rel=1e-3, abs=1e-3)


def test_does_not_depend_on_ranks():
    torch.manual_seed(0)
    x = torch.randn(1001) * 3 + 1
    whole = whiten(x, moments(x))
    shards = x.split([500, 1, 300, 200])
    summed = torch.stack([moments(shard) for shard in shards]).sum(dim=0)
    torch.testing.assert_close(torch.cat([whiten(shard, summed) for shard in shards]), whole, rtol=1e-6, atol=1e-7)
    assert whole.dtype == torch.float32


def test_a_variance_below_its_floor_is_not_blown_up():
    x = torch.tensor([0.0, 2e-5])  # variance 1e-10, divided as if it were 1e-8
    assert whiten(x, moments(x)).tolist() == pytest.approx([-0.1, 0.1])


def test_equal_values_become_0():
    x = torch.full((7,), 0.1)
    assert whiten(x, moments(x)).tolist() == pytest.approx([0.0] * 7, abs=1e-6)
