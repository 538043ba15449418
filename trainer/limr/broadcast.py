"""A process group of one sender, rank 0, and receivers in other programs: NCCL between GPUs, else gloo.

It stands beside the group in which the learners train and the groups of an engine's workers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore


class BroadcastGroup:
    def __init__(
        self, address: tuple[str, int], rank: int, ranks: int, device: torch.device, deadline_seconds: float
    ) -> None:
        """Waits until all ranks have come to `address`, where rank 0 listens, for `deadline_seconds` at most."""
        self._device = device
        host, port = address
        timeout = timedelta(seconds=deadline_seconds)
        store = TCPStore(host, port, ranks, is_master=rank == 0, timeout=timeout)
        self._group: Any
        if device.type == "cuda":
            options = dist.ProcessGroupNCCL.Options()
            options._timeout = timeout
            self._group = dist.ProcessGroupNCCL(store, rank, ranks, options)
        else:
            self._group = dist.ProcessGroupGloo(store, rank, ranks, timeout)
        self._sending: list[tuple[Any, torch.Tensor]] = []  # with their buffers, which must outlive them

    def send(self, buffer: torch.Tensor) -> None:
        """Starts to send `buffer`; returns when the one before it has been sent."""
        self.flush()
        self._sending = [(self._broadcast(buffer), buffer)]

    def flush(self) -> None:
        """Waits until everything has been sent."""
        for work, _ in self._sending:
            work.wait()
        self._sending = []

    def receive(self, size: int) -> torch.Tensor:
        """The next buffer of the sender. uint8 [size]"""
        buffer = torch.empty(size, dtype=torch.uint8, device=self._device)
        self._broadcast(buffer).wait()
        return buffer

    def close(self) -> None:
        self._sending = []
        self._group.abort()  # a peer that is gone would make an orderly end wait

    def _broadcast(self, buffer: torch.Tensor) -> Any:
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        return self._group.broadcast([buffer], options)
