"""Log-probabilities of chosen tokens, and entropies, from logits that are too large to copy.

With a vocabulary of 152,000, one float32 copy of the logits of 4 × 3,072 tokens is 7 GiB, and autograd would keep it
for the backward pass. So both passes work on a few rows at a time in float32, and the backward pass computes the
softmax again from the logits as the model made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 1 << 24  # logits in float32 at a time: 64 MiB


def logprobs_and_entropy(
    logits: Tensor, tokens: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """log π(token) and the entropy of π = softmax(logits / temperature), each [N] float32.

    `logits` is [N, V] in any precision (float64 is kept), `tokens` [N] int64. The entropy has no gradient and is None
    unless asked for.
    """
    return _LogProbs.apply(logits, tokens, temperature, with_entropy)  # type: ignore[no-untyped-call]


def _chunks(logits: Tensor) -> Iterator[slice]:
    rows = max(1, CHUNK_ELEMENTS // logits.shape[1])
    return (slice(start, start + rows) for start in range(0, logits.shape[0], rows))


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        logp = logits.new_empty(len(logits), dtype=dtype)
        entropy = torch.empty_like(logp) if with_entropy else None
        for chunk in _chunks(logits):
            logs = torch.log_softmax(logits[chunk].to(dtype) / temperature, dim=-1)
            logp[chunk] = logs.gather(-1, tokens[chunk, None]).squeeze(-1)
            if entropy is not None:
                entropy[chunk] = torch.special.entr(logs.exp_()).sum(-1)
        if entropy is not None:
            ctx.mark_non_differentiable(entropy)
        ctx.save_for_backward(logits, tokens)
        ctx.temperature = temperature
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor, _grad_entropy: Tensor | None) -> tuple[Tensor, None, None, None]:
        """∂ log π(token) / ∂ logit_v = (1[v = token] − π_v) / temperature."""
        logits, tokens = ctx.saved_tensors
        grad = torch.empty_like(logits)
        for chunk in _chunks(logits):
            scale = (grad_logp[chunk] / ctx.temperature)[:, None]
            part = torch.softmax(logits[chunk].to(grad_logp.dtype) / ctx.temperature, dim=-1).mul_(-scale)
            grad[chunk] = part.scatter_add_(-1, tokens[chunk, None], scale)
        return grad, None, None, None
