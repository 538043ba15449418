"""What each kind of device needs: environment variables, vLLM's and DeepSpeed's settings; and which kind a stage has.

The spec decides that on a cluster. On one machine a spec for GPUs also runs without any, so there the machine decides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limr.spec import Cluster
from limr.topology import DeviceKind, Workers, asked_kind

# Libraries send no usage data, and print what someone must act on.
QUIET_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# On a CPU, learners and engines share the cores: idle threads must not spin. And glibc must not give every large tensor
# back to the kernel, which would have to clear its pages again for the next: a quarter of a training step.
_SHARED_CORES = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_ARENA_MAX": "1",  # the work is not done in the main thread, and other arenas give back what is large
}


@dataclass(frozen=True)
class DeviceSettings:
    process_group: str  # torch.distributed's backend
    learner_environment: Mapping[str, str]
    engine_environment: Mapping[str, str]
    engine_arguments: Mapping[str, Any]  # of vllm.LLM


DEVICE_SETTINGS: Mapping[DeviceKind, DeviceSettings] = {
    DeviceKind.CUDA: DeviceSettings(
        process_group="nccl",
        learner_environment={"DS_ACCELERATOR": "cuda", **QUIET_ENVIRONMENT},
        engine_environment=QUIET_ENVIRONMENT,
        engine_arguments={"enforce_eager": False},  # compiled, and with CUDA graphs
    ),
    DeviceKind.CPU: DeviceSettings(
        process_group="gloo",
        learner_environment={"DS_ACCELERATOR": "cpu", **QUIET_ENVIRONMENT, **_SHARED_CORES},
        # vLLM's CPU build, as measured to work. Compiling costs more there than it brings.
        engine_environment={
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
            "TORCHDYNAMO_DISABLE": "1",
            **QUIET_ENVIRONMENT,
            **_SHARED_CORES,
        },
        engine_arguments={"enforce_eager": True},
    ),
}


def on_a_cluster() -> bool:
    """Whether each worker group has Pods of its own: the operator's Pods have this variable."""
    return os.environ.get("LIMR_PLACEMENT") == "roles"


def device_kind(cluster: Cluster) -> DeviceKind:
    """The kind of all learners and engines of a stage."""
    return asked_kind(cluster) if on_a_cluster() or machine_gpus() else DeviceKind.CPU


def machine_gpus(folder: Path = Path("/dev")) -> int:
    """How many NVIDIA GPUs processes of this machine see."""
    present = sum(bool(re.fullmatch(r"nvidia\d+", file.name)) for file in folder.iterdir())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else min(present, len([entry for entry in visible.split(",") if entry.strip()]))


def actor_options(workers: Workers, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Ray's options for each actor of the group; `variables` of the environment stand beside the device's own."""
    settings = DEVICE_SETTINGS[workers.kind]
    own = settings.learner_environment if workers.group == "learner" else settings.engine_environment
    environment = {**own, "OMP_NUM_THREADS": str(_threads(workers)), **(variables or {})}
    # A Pod of a group has as many of the group's resource as actors, so that they come to Pods of their group and each
    # Pod has its share. CPUs are Kubernetes' concern: a Pod may have less than one.
    resources = {f"limr_{workers.group}": 1} if on_a_cluster() else {}
    return {
        "num_gpus": workers.devices_per_actor if workers.kind is DeviceKind.CUDA else 0,
        "num_cpus": 0,
        "resources": resources,
        "max_restarts": 0,
        "runtime_env": {"env_vars": environment},
    }


def _threads(workers: Workers) -> int:
    """Of each process, at least one."""
    if workers.kind is DeviceKind.CUDA:
        return max(1, int(workers.cpus_per_pod / workers.actors_per_pod))
    # On one machine learners and engines take turns, so each kind may use all cores.
    return max(1, (os.cpu_count() or 1) // workers.devices)
