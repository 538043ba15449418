"""Memory of one GPU of a vLLM engine, and how many sequences its KV cache holds."""

from __future__ import annotations

from dataclasses import dataclass

from limr.sizing.architecture import Architecture
from limr.sizing.gpus import GIB
from limr.sizing.learner import WIDTH

# What vLLM does unless the spec says otherwise.
MEMORY_SHARE = 0.92  # of a GPU that it takes (gpu_memory_utilization)
BATCHED_TOKENS = 16_384  # in one forward pass, on GPUs of 70 GiB and more
CUDA_GRAPHS = 1 * GIB
RUNTIME = GIB // 2  # CUDA context and NCCL's buffers
PROCESS = 5 * GIB  # host memory of an engine's processes
CPU_CACHE = 2 * GIB  # limr.devices sets it for vLLM's CPU build


@dataclass(frozen=True)
class Engines:
    """What decides on an engine's memory."""

    model: Architecture
    dtype: str
    tensor_parallel: int
    max_tokens: int  # of a sequence, prompt and response
    max_sequences: int  # sampled at the same time
    memory_share: float  # of a GPU, for all that the engine holds there
    batched_tokens: int  # in one forward pass
    gpu_memory: int | None  # bytes; None on a CPU


@dataclass(frozen=True)
class EngineMemory:
    """Bytes on each GPU of an engine."""

    weights: int
    activations: int  # of a full batch, with the sampler's copies of the logits
    runtime: int  # CUDA graphs, context, NCCL
    cache: int  # what is left for keys and values; negative when nothing is
    cache_per_token: int
    full_sequences: float  # of the longest there can be, that the cache holds

    @property
    def device(self) -> int:
        return self.weights + self.activations + self.runtime + max(0, self.cache)


def engine_memory(given: Engines) -> EngineMemory:
    model, w = given.model, WIDTH[given.dtype]
    weights = -(-w * model.parameters // given.tensor_parallel)
    per_token, per_sequence = _cache(given)
    if given.gpu_memory is None:
        activations = runtime = 0
        cache = CPU_CACHE
    else:
        widest = max(4 * model.intermediate * max(1, model.experts_per_token) // given.tensor_parallel, model.hidden)
        # The sampler works on float32 logits of a whole batch, with a copy for log-probabilities.
        activations = (
            given.batched_tokens * (widest + 4 * model.hidden) * w + 3 * 4 * given.max_sequences * model.vocabulary
        )
        runtime = CUDA_GRAPHS + RUNTIME
        cache = int(given.memory_share * given.gpu_memory) - weights - activations - runtime
    return EngineMemory(weights, activations, runtime, cache, per_token, max(0, cache) / per_sequence)


def _cache(given: Engines) -> tuple[int, int]:
    """Bytes of keys and values on each GPU: (per token, of a sequence as long as can be)."""
    model = given.model
    heads = -(-model.kv_heads // given.tensor_parallel)  # repeated where there are fewer heads than GPUs
    of_layer = 2 * heads * model.head_dim * WIDTH[given.dtype]
    window = min(given.max_tokens, model.sliding_window or given.max_tokens)
    growing = model.layers - model.sliding_layers
    return of_layer * model.layers, of_layer * (growing * given.max_tokens + model.sliding_layers * window)
