"""Named tensors as chunks of raw bytes, for the way from a learner to the engines, and a checksum of each tensor.

A chunk is one buffer. Its tensors lie in it one after another, each padded with zeros to a multiple of ALIGNMENT bytes,
so that any dtype and the checksum's words can be viewed in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limr.rollout.proof import Checksums

ALIGNMENT = 64  # bytes
CHECKSUM_BLOCK = 1 << 19  # words that are summed at once: they stay in a core's cache


@dataclass(frozen=True)
class TensorInfo:
    name: str
    dtype: str  # torch's name
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, tensor: torch.Tensor) -> TensorInfo:
        return cls(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))

    @property
    def bytes(self) -> int:
        return int(math.prod(self.shape) * self._torch_dtype.itemsize)

    @property
    def padded_bytes(self) -> int:
        return -(-self.bytes // ALIGNMENT) * ALIGNMENT

    def view(self, padded: torch.Tensor) -> torch.Tensor:
        """The tensor that lies in `padded`, uint8 [padded_bytes]."""
        return padded[: self.bytes].view(self._torch_dtype).view(self.shape)

    @property
    def _torch_dtype(self) -> Any:
        return getattr(torch, self.dtype)


@dataclass(frozen=True)
class WeightChunk:
    """Some of the policy's weights, under the names of a checkpoint in Hugging Face form."""

    tensors: tuple[TensorInfo, ...]
    data: NDArray[np.uint8] | None  # None: the bytes come by broadcast


def pack(
    named: Iterable[tuple[str, torch.Tensor]], limit: int
) -> Iterator[tuple[tuple[TensorInfo, ...], torch.Tensor]]:
    """(tensors, buffer uint8) of each chunk; a chunk has at most `limit` bytes, or a single tensor that is larger.

    Each tensor is copied before the next one is asked for. A buffer is never used twice.
    """
    infos: list[TensorInfo] = []
    used, buffer = 0, torch.empty(0, dtype=torch.uint8)
    for name, tensor in named:
        info = TensorInfo.of(name, tensor)
        if infos and used + info.padded_bytes > limit:
            yield tuple(infos), buffer[:used]
            infos, used = [], 0
        if not infos:
            buffer = torch.empty(max(limit, info.padded_bytes), dtype=torch.uint8, device=tensor.device)
        padded = buffer[used : used + info.padded_bytes]
        padded[info.bytes :] = 0
        info.view(padded).copy_(tensor)
        infos.append(info)
        used += info.padded_bytes
    if infos:
        yield tuple(infos), buffer[:used]


def padded_parts(tensors: Iterable[TensorInfo], buffer: torch.Tensor) -> Iterator[tuple[TensorInfo, torch.Tensor]]:
    """Each tensor of a chunk with its bytes in `buffer`, padding included."""
    start = 0
    for info in tensors:
        yield info, buffer[start : start + info.padded_bytes]
        start += info.padded_bytes


def unpack(tensors: Iterable[TensorInfo], buffer: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """The chunk's tensors by name, as views of `buffer`."""
    return [(info.name, info.view(padded)) for info, padded in padded_parts(tensors, buffer)]


def checksum(data: torch.Tensor) -> torch.Tensor:
    """Two sums over the 64-bit words w_1 … w_n of `data` (uint8 [8n]), modulo 2^64: Σ w_i and Σ i·w_i. int64 [2].

    Integer sums are the same in any order, so every device gets the same result. One changed word always changes the
    first sum; words that changed places change the second.
    """
    words = data.view(torch.int64)
    positions = torch.arange(1, min(len(words), CHECKSUM_BLOCK) + 1, device=data.device)
    sums = torch.zeros(2, dtype=torch.int64, device=data.device)
    for start in range(0, len(words), CHECKSUM_BLOCK):
        block = words[start : start + CHECKSUM_BLOCK]
        total = block.sum()
        sums[0] += total
        sums[1] += (block * positions[: len(block)]).sum() + start * total
    return sums


class ChecksumTable:
    """Checksums of the tensors of one transfer, left on the device until all of them are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, tensors: Iterable[TensorInfo], buffer: torch.Tensor) -> None:
        for info, padded in padded_parts(tensors, buffer):
            self._sums[info.name] = checksum(padded)

    def result(self) -> Checksums:
        if not self._sums:
            return {}
        rows = torch.stack(list(self._sums.values())).tolist()
        return {
            name: "".join(f"{value % 2**64:016x}" for value in sums)
            for name, sums in zip(self._sums, rows, strict=True)
        }
