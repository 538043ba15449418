"""How the learners of a stage find each other."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import deepspeed
import ray
import torch

from limr.devices import DEVICE_SETTINGS
from limr.errors import LimrError
from limr.topology import DeviceKind, Rank


def free_address() -> tuple[str, int]:
    """This node's address and a port that was free a moment ago, for rank 0 to listen on."""
    host = ray.util.get_node_ip_address()
    with socket.socket() as listener:
        listener.bind((host, 0))
        return host, listener.getsockname()[1]


def join(rank: Rank, kind: DeviceKind, address: tuple[str, int], deadline_seconds: float) -> torch.device:
    """Enters the process group and returns the device to work on.

    A collective that waits for a lost rank ends after `deadline_seconds`. Raises LimrError when the spec gave this rank
    a GPU that PyTorch cannot use: it must not go on on a CPU.
    """
    if kind is DeviceKind.CUDA and not torch.cuda.is_available():
        raise LimrError(
            f"learner {rank.number} was given a GPU, but PyTorch, built for CUDA {torch.version.cuda}, cannot use it; "
            "install a newer NVIDIA driver on the node (docs/gpu-pools.md has the oldest that works)"
        )
    host, port = address
    os.environ.update(
        RANK=str(rank.number),
        WORLD_SIZE=str(rank.total),
        # DeepSpeed takes it as the number of the GPU among those that the process sees, and Ray shows each process its
        # own alone. NCCL still uses NVLink between ranks of a Pod: it knows GPUs by their bus, and since CUDA 10.1 P2P
        # needs no sight of the other's (NCCL's transport/p2p.cc, p2pCanConnect).
        LOCAL_RANK="0" if kind is DeviceKind.CUDA else str(rank.local_number),
        LOCAL_SIZE=str(rank.local_total),
        MASTER_ADDR=host,
        MASTER_PORT=str(port),
    )
    # Compiled by g++ at first use, for half a minute, and used by inference only.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(
        dist_backend=DEVICE_SETTINGS[kind].process_group,
        init_method=f"tcp://{host}:{port}",
        rank=rank.number,
        world_size=rank.total,
        timeout=timedelta(seconds=deadline_seconds),
        auto_mpi_discovery=False,
        verbose=False,
    )
    return torch.device("cuda", 0) if kind is DeviceKind.CUDA else torch.device("cpu")
