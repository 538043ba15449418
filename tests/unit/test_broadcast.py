"""One sender, two receivers, over gloo."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import torch

from limr.broadcast import BroadcastGroup

CPU = torch.device("cpu")


def test_receivers_get_every_buffer_in_order() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
    buffers = [torch.full((size,), size % 251, dtype=torch.uint8) for size in (64, 1 << 20, 0, 128)]

    def send() -> None:
        group = BroadcastGroup(address, 0, 3, CPU, 60)
        for buffer in buffers:
            group.send(buffer)
        group.flush()

    def receive(rank: int) -> list[torch.Tensor]:
        group = BroadcastGroup(address, rank, 3, CPU, 60)
        return [group.receive(len(buffer)) for buffer in buffers]

    with ThreadPoolExecutor() as threads:
        sending = threads.submit(send)
        for received in threads.map(receive, (1, 2)):
            assert all(torch.equal(got, sent) for got, sent in zip(received, buffers, strict=True))
        sending.result()
