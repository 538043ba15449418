"""What the tests with real engines share: one Ray cluster, and a tiny untrained model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray

from limr import topology
from limr.learner.group import LearnerGroup
from limr.learner.types import LearnerSettings, StepBatch
from limr.rollout.group import EngineGroup
from limr.rollout.types import EngineSettings
from limr.spec import PPO, EngineOptions, LearnerPods, RolloutPods
from limr.topology import DeviceKind, Workers

ARITHMETIC = Path(__file__).parents[1] / "examples" / "arithmetic"
MODEL = ARITHMETIC / "model"


@contextmanager
def ray_cluster() -> Iterator[None]:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # actors import tests' own learners
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
        del os.environ["PYTHONPATH"]


def learner_settings(
    model: str = str(MODEL),
    root: str = "unused",
    endpoint: str | None = None,
    dtype: str = "float32",
    **recipe: object,
) -> LearnerSettings:
    """Small batches and a large learning rate."""
    ppo = PPO.model_validate(
        {
            "promptsPerStep": 8,
            "samplesPerPrompt": 4,
            "trainBatchSize": 16,
            "temperature": 1.0,
            "actorLearningRate": 1e-4,
            "criticLearningRate": 1e-3,
            "warmupUpdates": 0,
            "zeroStage": 1,
            "gradientCheckpointing": False,
            **recipe,
        }
    )
    return LearnerSettings(
        model=model,
        revision=None,
        root=root,
        endpoint=endpoint,
        dtype=dtype,
        ppo=ppo,
        seed=1,
        total_updates=100,
        deadline_seconds=300,
        scratch=Path("limr-tests/attempt-1"),
    )


def cpu_learners(pods: int = 1, processes: int = 1) -> Workers:
    return topology.learners(LearnerPods(replicas=pods, gpus=0, processes=processes), DeviceKind.CPU)


def cpu_engines(pods: int = 1, tensor_parallel: int = 1) -> Workers:
    """An engine in each Pod."""
    spec = RolloutPods(replicas=pods, gpus=0, processes=tensor_parallel, tensor_parallel=tensor_parallel)
    return topology.engines(spec, DeviceKind.CPU)


def learner_group(pods: int, processes: int = 1, **settings: Any) -> LearnerGroup:
    """Learners that are ready to train; `settings` are those of `learner_settings`."""
    group = LearnerGroup(cpu_learners(pods, processes), learner_settings(**settings), wait_seconds=300)
    group.start()
    return group


def trained(group: LearnerGroup, steps: range, responses: int = 32) -> list[dict[str, float]]:
    return [group.measure(step_batch(step, responses, 4)).metrics | group.update() for step in steps]


def engine_group(model: str = str(MODEL), pods: int = 1) -> EngineGroup:
    settings = EngineSettings(model, None, None, "float32", 64, EngineOptions(max_sequences=64))
    return EngineGroup(cpu_engines(pods), settings, wait_seconds=300)


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
