import pytest
import torch
from torch.autograd import gradcheck

from limr.ppo import logprobs
from limr.ppo.logprobs import logprobs_and_entropy


@pytest.fixture
def case():
    torch.manual_seed(0)
    return torch.randn(13, 7) * 5, torch.randint(7, (13,)), torch.randn(13)


@pytest.fixture(params=[1, 21, 1 << 24])
def _any_chunk(request, monkeypatch):
    """One row at a time, three with a remainder of one, and all at once."""
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", request.param)


def test_example():
    # softmax((2 ln 3, 0) / 2) = (3/4, 1/4)
    logits = torch.tensor([[2.0, 0.0]]) * torch.tensor(3.0).log()
    logp, entropy = logprobs_and_entropy(logits, torch.tensor([1]), temperature=2.0, with_entropy=True)
    p = torch.tensor([0.75, 0.25])
    assert logp.item() == pytest.approx(p[1].log().item())
    assert entropy.item() == pytest.approx(-(p * p.log()).sum().item())


@pytest.mark.usefixtures("_any_chunk")
def test_values_and_gradient_equal_autograd_of_log_softmax(case):
    logits, tokens, weights = case
    mine, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    logp, entropy = logprobs_and_entropy(mine, tokens, 1.2, with_entropy=True)
    logs = (plain / 1.2).log_softmax(-1)
    expected = logs.gather(-1, tokens[:, None]).squeeze(-1)
    torch.testing.assert_close(logp, expected)
    torch.testing.assert_close(entropy, -(logs.exp() * logs).sum(-1).detach())
    (logp * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(mine.grad, plain.grad)
    assert not entropy.requires_grad


@pytest.mark.usefixtures("_any_chunk")
def test_gradient_equals_finite_differences(case):
    logits, tokens, _ = case
    assert gradcheck(lambda x: logprobs_and_entropy(x, tokens, 0.7, False)[0], logits.double().requires_grad_())


def test_bf16_logits_are_computed_in_float32_and_get_a_bf16_gradient(case):
    logits, tokens, _ = case
    half = logits.bfloat16().requires_grad_()
    logp, entropy = logprobs_and_entropy(half, tokens, 1.2, with_entropy=True)
    expected, expected_entropy = logprobs_and_entropy(half.detach().float(), tokens, 1.2, with_entropy=True)
    assert torch.equal(logp, expected)
    assert torch.equal(entropy, expected_entropy)
    logp.sum().backward()
    assert half.grad.dtype == torch.bfloat16


def test_keeps_nothing_but_the_logits_for_the_backward_pass(case):
    logits, tokens, _ = case
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x)
    logits.requires_grad_()
    with hooks:
        logprobs_and_entropy(logits, tokens, 1.2, with_entropy=True)
    assert {x.data_ptr() for x in saved} == {logits.data_ptr(), tokens.data_ptr()}


def test_extreme_logits_stay_finite():
    logp, entropy = logprobs_and_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([1]), 1.0, with_entropy=True)
    assert logp.item() == -2e4
    assert entropy.item() == 0


def test_no_entropy_unless_asked(case):
    logits, tokens, _ = case
    assert logprobs_and_entropy(logits, tokens, 1.0, with_entropy=False)[1] is None
