"""What each process gets of the machine: GPUs where the cluster has them, else a fair share of the cores."""

from __future__ import annotations

import os
from typing import Any

import ray

from limr.spec import Cluster, Role

# vLLM's CPU build, as measured to work.
ENGINE_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
}
# Nothing phones home.
QUIET_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


# On a CPU, learners and engines share the cores: idle threads must not spin. And glibc must not give every large tensor
# back to the kernel, which would have to clear its pages again for the next: a quarter of a training step.
SHARED_CORES_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_ARENA_MAX": "1",  # the work is not done in the main thread, and other arenas give back what is large
}


def cluster_has_gpus() -> bool:
    return bool(ray.cluster_resources().get("GPU"))


def device_count(cluster: Cluster, on_gpus: bool) -> int:
    """Devices that a stage holds while it runs: GPUs, or processes where there are none."""
    roles = (cluster.learner, cluster.rollout)
    return sum(role.replicas * (role.gpus if on_gpus else 1) for role in roles)


def learner_options(role: Role) -> dict[str, Any]:
    environment = {"DS_ACCELERATOR": "cuda" if cluster_has_gpus() else "cpu"}
    return _options("learner", role, environment)


def engine_options(role: Role) -> dict[str, Any]:
    environment = dict(ENGINE_ENVIRONMENT)
    if not cluster_has_gpus():
        environment["VLLM_CPU_KVCACHE_SPACE"] = "2"  # GiB
    return _options("rollout", role, environment)


def _options(name: str, role: Role, environment: dict[str, str]) -> dict[str, Any]:
    on_gpus = cluster_has_gpus()
    # On one machine learners and engines take turns, so each kind may use all cores.
    threads = max(1, round(role.cpus) if on_gpus else (os.cpu_count() or 1) // role.replicas)
    variables = {**environment, **QUIET_ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    if not on_gpus:
        variables |= SHARED_CORES_ENVIRONMENT
    return {
        "num_gpus": role.gpus if on_gpus else 0,
        "num_cpus": role.cpus if on_gpus else 0,
        # On a cluster each role has Pods of its own, with one such resource each.
        "resources": {f"limr_{name}": 1} if os.environ.get("LIMR_PLACEMENT") == "roles" else {},
        "max_restarts": 0,
        "runtime_env": {"env_vars": variables},
    }
