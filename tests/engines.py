"""What the tests with real engines share: one Ray cluster, and a tiny untrained model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import ray

from limr.learner.types import StepBatch

ARITHMETIC = Path(__file__).parents[1] / "examples" / "arithmetic"
MODEL = ARITHMETIC / "model"


@contextmanager
def ray_cluster() -> Iterator[None]:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(
        num_cpus=8,
        include_dashboard=False,
        object_store_memory=200 << 20,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    try:
        yield
    finally:
        ray.shutdown()


def step_batch(step: int, responses: int, group: int, vocabulary: int = 200, longest: int = 12) -> StepBatch:
    """Random token ids of uneven lengths; the sampler's log-probabilities are off by a little noise."""
    rng = np.random.default_rng([7, step])
    prompts = [rng.integers(5, vocabulary, rng.integers(3, 9)).astype(np.int32) for _ in range(responses // group)]
    lengths = rng.integers(1, longest, responses).astype(np.int32)
    own = [prompt for prompt in prompts for _ in range(group)]
    return StepBatch(
        step=step,
        prompt_tokens=np.concatenate(own),
        prompt_lengths=np.array([len(prompt) for prompt in own], np.int32),
        response_tokens=rng.integers(5, vocabulary, lengths.sum()).astype(np.int32),
        response_lengths=lengths,
        rollout_logprobs=(-5.3 + 0.3 * rng.standard_normal(lengths.sum())).astype(np.float32),
        rewards=rng.choice([1.0, -0.5, -1.0], responses).astype(np.float32),
    )
