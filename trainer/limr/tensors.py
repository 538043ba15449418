"""Tensors as raw bytes, so that Ray's object store carries them between processes without a copy, in any dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class WeightBundle:
    """All weights of the policy at one version: (name, bytes, dtype name, shape) in Hugging Face's names."""

    version: int
    tensors: list[tuple[str, NDArray[np.uint8], str, tuple[int, ...]]]


def to_bytes(name: str, tensor: torch.Tensor) -> tuple[str, NDArray[np.uint8], str, tuple[int, ...]]:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return name, flat.numpy(), str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def from_bytes(data: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor with `data`'s bytes. Copied, because Ray's arrays are read-only and torch has no read-only tensors."""
    kind: Any = getattr(torch, dtype)
    return torch.from_numpy(data.copy()).view(kind).reshape(shape)
