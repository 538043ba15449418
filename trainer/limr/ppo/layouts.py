"""Token sequences as the model's inputs, padded or packed, and the way back to flat response tokens.

A packed row holds sequences one after another; transformers keeps them apart because positions start at 0 again, and
only if it is given no attention mask and no cache: call the model with use_cache=False.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limr.ppo.flat import offsets, per_token


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """B sequences of token ids as (ids, positions, attention_mask), each [B, longest], filled up on the right.

    In a causal model no token sees what stands to its right, so the mask may be left out; results are the same.
    """
    lengths = _lengths(sequences)
    ids = pad_sequence(list(sequences), batch_first=True)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return ids, positions, (positions < lengths[:, None]).long()


def pack(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences of token ids as (ids, positions), each [1, all tokens]; positions count from 0 in each sequence."""
    return torch.cat(list(sequences))[None], offsets(_lengths(sequences))[None]


def predictors(lengths: Tensor, response_lengths: Tensor, packed: bool) -> tuple[Tensor, Tensor]:
    """(rows, columns), each [N]: where the model's output predicts each response token, in flat order.

    `lengths` [B] counts prompt and response, `response_lengths` [B] the response at the end; N is the sum of the
    latter. The output one position before a token predicts it, so a prompt has at least one token: else ValueError.
    """
    before_response = lengths - response_lengths - 1
    if bool((before_response < 0).any()):
        raise ValueError("a sequence without a prompt token has no position that predicts its first response token")
    columns = per_token(before_response, response_lengths) + offsets(response_lengths)
    if packed:
        return torch.zeros_like(columns), columns + per_token(lengths.cumsum(0) - lengths, response_lengths)
    return per_token(torch.arange(len(lengths), device=lengths.device), response_lengths), columns


def _lengths(sequences: Sequence[Tensor]) -> Tensor:
    return torch.tensor([len(sequence) for sequence in sequences], device=sequences[0].device)
