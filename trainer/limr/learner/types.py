"""What goes to the learners and what comes back: plain arrays, so that the driver needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limr.errors import LimrError
from limr.spec import PPO


class NonFinite(LimrError):
    """A loss, gradient, log-probability or weight is infinite or no number: nothing after it is worth keeping.

    The text names tensor, learner, step and update. A repetition from the last checkpoint would end the same way.
    """

    reason = "NonFinite"


@dataclass(frozen=True)
class LearnerSettings:
    model: str  # directory in Hugging Face form, hub id, or s3://
    revision: str | None
    root: str  # URI of the experiment's folder in the store
    endpoint: str | None  # of S3
    dtype: str
    ppo: PPO
    seed: int
    total_updates: int  # of the whole stage, for the learning-rate schedule
    deadline_seconds: float  # of any collective
    scratch: Path  # the attempt's folder below limr.scratch.root() of each machine
    offload_optimizer: bool = False  # keep Adam's state in host memory, as limr.sizing decided; on CPUs it is there


@dataclass(frozen=True)
class StepBatch:
    """B responses, the samples of one prompt next to each other. Token arrays are flat over responses."""

    step: int
    prompt_tokens: NDArray[np.int32]  # [sum of prompt_lengths], each response's own prompt
    prompt_lengths: NDArray[np.int32]  # [B]
    response_tokens: NDArray[np.int32]  # [N]
    response_lengths: NDArray[np.int32]  # [B]
    rollout_logprobs: NDArray[np.float32]  # [N], the sampler's
    rewards: NDArray[np.float32]  # [B]


@dataclass(frozen=True)
class Measured:
    """Of this rank's b responses: how far the sampler's probabilities lie from the learner's."""

    indices: NDArray[np.int64]  # [b], in the step's batch
    ratio_mean: NDArray[np.float32]  # [b], learner/sampler, over a response's tokens
    ratio_max: NDArray[np.float32]  # [b]
    metrics: dict[str, float]  # over all ranks
