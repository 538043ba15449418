"""How the learners of a stage find each other."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import deepspeed
import ray
import torch


def free_address() -> tuple[str, int]:
    """This node's address and a port that was free a moment ago, for rank 0 to listen on."""
    host = ray.util.get_node_ip_address()
    with socket.socket() as listener:
        listener.bind((host, 0))
        return host, listener.getsockname()[1]


def join(rank: int, ranks: int, address: tuple[str, int], deadline_seconds: float) -> torch.device:
    """Enters the process group (NCCL on GPUs, else gloo) and returns the device to work on.

    A collective that waits for a lost rank ends after `deadline_seconds`.
    """
    host, port = address
    # Ray shows each process its own GPU only, so every rank is local rank 0 there.
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK="0", LOCAL_SIZE="1", MASTER_ADDR=host, MASTER_PORT=str(port)
    )
    # Compiled by g++ at first use, for half a minute, and used by inference only.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    on_gpu = torch.cuda.is_available()
    deepspeed.init_distributed(
        dist_backend="nccl" if on_gpu else "gloo",
        init_method=f"tcp://{host}:{port}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=deadline_seconds),
        auto_mpi_discovery=False,
        verbose=False,
    )
    return torch.device("cuda", 0) if on_gpu else torch.device("cpu")
