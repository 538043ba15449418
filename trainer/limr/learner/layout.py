"""A micro-batch as the models take it, with the places where they predict the response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limr.ppo.layouts import pack, pad, predictors


@dataclass(frozen=True)
class Layout:
    ids: Tensor  # int64, [b, longest] padded or [1, all tokens] packed
    positions: Tensor  # int64, as ids
    rows: Tensor  # int64 [n], where in ids' shape the n response tokens are predicted
    columns: Tensor  # int64 [n]


def lay_out(texts: Sequence[Tensor], response_lengths: Tensor, packed: bool, device: torch.device) -> Layout:
    """`texts` are b sequences of prompt and response; the last `response_lengths` [b] tokens are the response."""
    lengths = torch.tensor([len(text) for text in texts])
    rows, columns = predictors(lengths, response_lengths, packed)
    if packed:
        ids, positions = pack(texts)
    else:
        ids, positions, _ = pad(texts)
    return Layout(ids.to(device), positions.to(device), rows.to(device), columns.to(device))
