"""What is asked of an engine and what comes back: plain arrays, cheap to send between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from limr.spec import EngineOptions, Spec


@dataclass(frozen=True)
class EngineSettings:
    model: str  # directory in Hugging Face form, hub id, or s3://
    revision: str | None
    endpoint: str | None  # of S3
    dtype: str
    max_model_len: int  # tokens of prompt and response together
    options: EngineOptions


def engine_settings(spec: Spec, benchmarks_too: bool) -> EngineSettings:
    """Of engines for training's responses and, with `benchmarks_too`, the benchmarks', which may be longer."""
    longest = [spec.ppo.max_response_tokens]
    if benchmarks_too:
        longest += [benchmark.max_response_tokens or 0 for benchmark in spec.evaluation.benchmarks]
    return EngineSettings(
        model=spec.model.uri,
        revision=spec.model.revision,
        endpoint=spec.storage.endpoint,
        dtype=spec.model.dtype,
        max_model_len=spec.ppo.max_prompt_tokens + max(longest),
        options=spec.cluster.rollout.engine,
    )


@dataclass(frozen=True)
class SamplingSettings:
    samples: int  # responses per prompt
    temperature: float  # 0 is greedy
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Rollouts:
    """B responses, the samples of one prompt next to each other. Token arrays are flat: N = lengths.sum()."""

    tokens: NDArray[np.int32]  # [N], the end token included when the response has one
    logprobs: NDArray[np.float32]  # [N], of the distribution that was sampled from (after temperature)
    lengths: NDArray[np.int32]  # [B], each at least 1
    truncated: NDArray[np.bool_]  # [B], True without an end token
    texts: list[str]  # [B], special tokens removed
    version: int  # of the weights that sampled


def concatenate(parts: Sequence[Rollouts]) -> Rollouts:
    """The parts' responses one after another. All must come from the same version of the weights."""
    versions = {part.version for part in parts}
    if len(versions) != 1:
        raise ValueError(f"rollouts of versions {sorted(versions)} cannot be one batch")
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Rollouts)
        if field.name not in ("texts", "version")
    }
    return Rollouts(**arrays, texts=[text for part in parts for text in part.texts], version=versions.pop())


def sample_seed(seed: int, step: int, position: int) -> int:
    """The sampler's seed of one prompt in one step: the same after any restart, on any engine.

    Sample j of the prompt draws with this seed + j (vLLM counts up), so seeds lie 2^16 apart.
    """
    words = np.random.SeedSequence([seed, step, position]).generate_state(1, np.uint64)
    return int(words[0]) >> 2 & ~0xFFFF
