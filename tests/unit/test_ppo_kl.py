import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from limr.ppo.kl import kl

LOGPS = st.floats(-12, 0, width=32)


@pytest.mark.parametrize(("estimator", "expected"), [("k1", 0.5), ("k2", 0.125), ("k3", math.exp(-0.5) - 0.5)])
def test_example(estimator, expected):
    result = kl(torch.tensor([-1.0]), torch.tensor([-1.5]), estimator)
    assert result.item() == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.tuples(LOGPS, LOGPS), min_size=1, max_size=8))
def test_equals_the_formulas(pairs):
    logp, ref = (torch.tensor(column) for column in zip(*pairs, strict=True))
    d = [float(x) - float(y) for x, y in zip(logp, ref, strict=True)]
    assert kl(logp, ref, "k1").tolist() == pytest.approx(d, abs=1e-6)
    assert kl(logp, ref, "k2").tolist() == pytest.approx([x * x / 2 for x in d], rel=1e-5, abs=1e-6)
    assert kl(logp, ref, "k3").tolist() == pytest.approx([math.exp(-x) - 1 + x for x in d], rel=1e-5, abs=1e-6)


def test_k3_keeps_its_digits_for_nearly_equal_policies():
    d = 2.0**-12
    assert kl(torch.tensor([d]), torch.zeros(1), "k3").item() == pytest.approx(d * d / 2, rel=1e-3)


def test_k3_stays_finite_where_the_reference_finds_the_token_far_likelier():
    logp = torch.tensor([-200.0], requires_grad=True)
    loss = kl(logp, torch.zeros(1), "k3")
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logp.grad).all()


def test_k1_and_k3_have_the_kl_as_their_mean():
    policy, reference = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    exact = (policy * (policy / reference).log()).sum().item()
    for estimator in ("k1", "k3"):
        assert (policy * kl(policy.log(), reference.log(), estimator)).sum().item() == pytest.approx(exact, rel=1e-5)
