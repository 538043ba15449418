"""What one step knows about its responses, as the learners take it and as the store keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from limr.dataset import Prompt
from limr.learner.types import Measured, StepBatch
from limr.reward.verdict import Grade, GradeRequest, Verdict
from limr.rollout.types import Rollouts


@dataclass(frozen=True)
class Sampled:
    """B = len(indices) × samples responses of one step, the samples of one prompt next to each other, graded."""

    step: int
    epoch: int
    indices: NDArray[np.int64]  # of the step's prompts, in the stage's prompts
    samples: int  # responses per prompt
    rollouts: Rollouts
    grades: list[Grade]

    def prompt_of_response(self) -> NDArray[np.int64]:
        return np.repeat(self.indices, self.samples)


def grade_requests(rollouts: Rollouts, prompts: Sequence[Prompt]) -> list[GradeRequest]:
    """What the grader is asked about each response; `prompts` has the prompt of each."""
    return [
        GradeRequest(text, prompt.answer, bool(truncated))
        for text, prompt, truncated in zip(rollouts.texts, prompts, rollouts.truncated, strict=True)
    ]


def step_batch(sampled: Sampled, prompt_tokens: Sequence[list[int]]) -> StepBatch:
    """For the learners. `prompt_tokens` are those of all the stage's prompts."""
    prompts = [prompt_tokens[index] for index in sampled.prompt_of_response()]
    return StepBatch(
        step=sampled.step,
        prompt_tokens=np.array([token for prompt in prompts for token in prompt], np.int32),
        prompt_lengths=np.array([len(prompt) for prompt in prompts], np.int32),
        response_tokens=sampled.rollouts.tokens,
        response_lengths=sampled.rollouts.lengths,
        rollout_logprobs=sampled.rollouts.logprobs,
        rewards=np.array([grade.reward for grade in sampled.grades], np.float32),
    )


def trajectory_table(sampled: Sampled, measured: Measured, prompts: Sequence[Prompt], attempt: int) -> pa.Table:
    """One row per response, of schema `SCHEMA`."""
    rollouts = sampled.rollouts
    starts = np.cumsum(rollouts.lengths) - rollouts.lengths
    count = len(rollouts.lengths)
    return pa.table(
        {
            **_keys(sampled, prompts),
            "reward": [grade.reward for grade in sampled.grades],
            "verdict": [grade.verdict.value for grade in sampled.grades],
            "response_tokens": rollouts.lengths,
            "truncated": rollouts.truncated,
            "policy_version": np.full(count, rollouts.version),
            "attempt": np.full(count, attempt),
            "mean_logprob": np.add.reduceat(rollouts.logprobs, starts) / rollouts.lengths,
            "ratio_mean": measured.ratio_mean,
            "ratio_max": measured.ratio_max,
        }
    )


def text_table(sampled: Sampled, prompts: Sequence[Prompt]) -> pa.Table:
    """One row per response, of schema `TEXT_SCHEMA`."""
    asked = [prompts[index].text for index in sampled.prompt_of_response()]
    return pa.table({**_keys(sampled, prompts), "prompt": asked, "response": sampled.rollouts.texts})


def step_metrics(sampled: Sampled) -> dict[str, float]:
    """Of rewards, verdicts and lengths."""
    counts = Counter(grade.verdict for grade in sampled.grades)
    total = len(sampled.grades)
    return {
        "reward_mean": sum(grade.reward for grade in sampled.grades) / total,
        "accuracy": counts[Verdict.CORRECT] / total,
        **{f"verdict_{verdict.value}": counts[verdict] / total for verdict in Verdict},
        "response_tokens_mean": float(sampled.rollouts.lengths.mean()),
        "truncated_share": float(sampled.rollouts.truncated.mean()),
    }


def _keys(sampled: Sampled, prompts: Sequence[Prompt]) -> dict[str, object]:
    count = len(sampled.grades)
    seen: Counter[int] = Counter()
    sample = []
    for index in sampled.prompt_of_response().tolist():  # a prompt that stands twice in a step goes on counting
        sample.append(seen[index])
        seen[index] += 1
    return {
        "prompt_id": [prompts[index].prompt_id for index in sampled.prompt_of_response()],
        "epoch": np.full(count, sampled.epoch),
        "step": np.full(count, sampled.step),
        "sample": sample,
    }
