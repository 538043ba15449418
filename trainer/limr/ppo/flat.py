"""Between sequences and their flat tokens: B sequences, N = lengths.sum() tokens, every length at least 1."""

from __future__ import annotations

import torch
from torch import Tensor


def per_token(x: Tensor, lengths: Tensor) -> Tensor:
    """[B] → [N]: each sequence's value at all of its tokens."""
    return x.repeat_interleave(lengths)


def sum_per_sequence(x: Tensor, lengths: Tensor) -> Tensor:
    """[N] → [B] in float64: the sum over each sequence's tokens."""
    return torch.segment_reduce(x.double(), "sum", lengths=lengths)


def last_tokens(lengths: Tensor) -> Tensor:
    """[B]: where each sequence's last token lies among the N."""
    return lengths.cumsum(0) - 1


def offsets(lengths: Tensor) -> Tensor:
    """[N]: each token's offset from the start of its sequence, 0 for the first."""
    starts = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum()), device=lengths.device) - per_token(starts, lengths)
