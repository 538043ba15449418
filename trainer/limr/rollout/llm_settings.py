"""From `spec.cluster.rollout.engine` to what vLLM is started with, on each kind of device. Pure."""

from __future__ import annotations

from typing import Any

from limr.devices import DEVICE_SETTINGS
from limr.spec import MAX_SEQUENCES, EngineOptions
from limr.topology import DeviceKind


def llm_arguments(options: EngineOptions, kind: DeviceKind) -> dict[str, Any]:
    """What the spec leaves out is left to vLLM, or to the device's settings."""
    wanted: dict[str, Any] = {
        "max_num_batched_tokens": options.max_batched_tokens,
        "enable_prefix_caching": options.prefix_caching,
    }
    if kind is DeviceKind.CUDA:  # a spec for GPUs that is tried on a laptop goes without these
        wanted |= {
            "gpu_memory_utilization": options.memory_share,
            "kv_cache_dtype": options.kv_cache_dtype,
            "attention_backend": options.attention_backend,
        }
    given = {name: value for name, value in wanted.items() if value is not None}
    return {"max_num_seqs": options.max_sequences or MAX_SEQUENCES, **DEVICE_SETTINGS[kind].engine_arguments, **given}


def engine_environment(options: EngineOptions, kind: DeviceKind) -> dict[str, str]:
    """What vLLM reads when it is imported, beside the device's own variables."""
    return {"VLLM_BATCH_INVARIANT": "1"} if options.batch_invariant and kind is DeviceKind.CUDA else {}
