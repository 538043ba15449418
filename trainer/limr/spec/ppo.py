"""`spec.ppo`: the training recipe."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from limr.cel import Cel
from limr.spec.part import Fraction, Part, refuse


def _bounds(value: Any) -> Any:
    return tuple(value) or None if isinstance(value, list | tuple) else value


# null means none too, but `kubectl apply` drops it, so that the default would count: these can be written otherwise.
OrNone = Annotated[Annotated[float, Field(ge=0)] | None, AfterValidator(lambda value: value or None)]
BoundsOrNone = Annotated[tuple[float, float] | None, BeforeValidator(_bounds)]


_TOP_P = (
    "would sample from a part of the vocabulary, whose probabilities the learner does not know; set topP to 1 "
    "(a benchmark of evaluation has a topP of its own)"
)


class Algorithm(StrEnum):
    PPO = "ppo"
    GRPO = "grpo"
    RLOO = "rloo"


class PPO(Part):
    """The training recipe. Formulas: docs/formulas.md."""

    algorithm: Algorithm = Field(Algorithm.PPO, description="ppo (with a critic), grpo or rloo (without).")
    prompts_per_step: int = Field(1024, ge=1, description="Prompts sampled in one step.")
    samples_per_prompt: int = Field(8, ge=1, description="Responses per prompt.")
    temperature: float = Field(1.2, gt=0, le=5, description="Sampling temperature.")
    top_p: float = Field(1.0, gt=0, le=1, description="Must be 1 in training: sampling from all tokens.")
    max_prompt_tokens: int = Field(1024, ge=1, description="Longer prompts are refused before training.")
    max_response_tokens: int = Field(3072, ge=1, description="Longer responses are cut and count as truncated.")
    train_batch_size: int = Field(256, ge=1, description="Responses per optimizer update, over all learners.")
    micro_batch_size: int = Field(4, ge=1, description="Responses per forward pass of one learner.")
    update_epochs: int = Field(1, ge=1, description="Passes over a step's responses.")
    actor_learning_rate: float = Field(5e-7, gt=0, description="Adam's rate for the policy, after warm-up.")
    critic_learning_rate: float = Field(9e-6, gt=0, description="Adam's rate for the critic (ppo only).")
    adam_betas: tuple[Fraction, Fraction] = Field((0.9, 0.95), description="Adam's decay of its two moments.")
    adam_epsilon: float = Field(1e-8, gt=0, description="Added to Adam's denominator.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay (AdamW).")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this global norm.")
    warmup_updates: int = Field(10, ge=0, description="Optimizer updates of linear warm-up; cosine decay follows.")
    min_learning_rate_ratio: Fraction = Field(0.1, description="Where the cosine ends, as a share of the rate.")
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k1", description="Estimator of KL(policy, reference) in the reward; in grpo's loss it is always k3."
    )
    kl_coefficient: float = Field(0.01, ge=0, description="β of the KL penalty in the token reward.")
    clip_low: float = Field(0.2, gt=0, lt=1, description="ε below 1 of the ratio clip.")
    clip_high: float = Field(0.2, gt=0, description="ε above 1; larger than clipLow is 'clip-higher'.")
    dual_clip: float | None = Field(None, gt=1, description="Bound c of the dual clip for negative advantages.")
    value_clip: OrNone = Field(0.2, description="ε of the value clip; 0 for none.")
    reward_clip: float = Field(10.0, gt=0, description="Rewards are clipped to ± this.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount γ per token.")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="λ of generalised advantage estimation (ppo only).")
    whiten_advantages: bool = Field(True, description="Over all response tokens of all learners (ppo only).")
    importance_clip: BoundsOrNone = Field(
        (0.5, 5.0),
        description="Bounds [low, high] of the off-policy correction learner/sampler (TIS); [] for none.",
        json_schema_extra={"minItems": 0},
    )
    compat: Literal["none", "paper"] = Field(
        "none",
        description="paper: as the LIMR code did, log-probabilities at temperature 1 and means per micro-batch.",
    )
    zero_stage: Literal[1, 2, 3] = Field(3, description="DeepSpeed ZeRO stage of actor and critic.")
    offload_optimizer: bool | None = Field(
        None, description="Keep Adam's state in host memory. Default: only where it does not fit on the GPUs."
    )
    gradient_checkpointing: bool = Field(True, description="Recompute activations in the backward pass.")
    packing: bool = Field(True, description="Pack a micro-batch's sequences into one row instead of padding them.")

    cel = (
        Cel(
            "self.promptsPerStep * self.samplesPerPrompt % self.trainBatchSize == 0",
            "promptsPerStep × samplesPerPrompt = ${self.promptsPerStep * self.samplesPerPrompt} responses do not "
            "divide into updates of trainBatchSize = ${self.trainBatchSize}; make trainBatchSize a divisor of "
            "${self.promptsPerStep * self.samplesPerPrompt}",
            at="trainBatchSize",
        ),
        Cel(
            "self.algorithm == 'ppo' || self.samplesPerPrompt >= 2",
            "algorithm ${self.algorithm} compares a prompt's samples; set samplesPerPrompt to 2 or more",
            at="samplesPerPrompt",
        ),
        Cel(
            "self.topP == 1.0",
            f"topP ${{self.topP}} {_TOP_P}",
            at="topP",
        ),
        Cel(
            "!has(self.importanceClip) || self.importanceClip.size() != 1",
            "importanceClip is [low, high], or [] for none; the second is missing",
            at="importanceClip",
        ),
        Cel(
            "!has(self.importanceClip) || self.importanceClip.size() < 2 || "
            "self.importanceClip[0] <= self.importanceClip[1]",
            "importanceClip is [low, high]; the first is larger than the second",
            at="importanceClip",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        batch = self.prompts_per_step * self.samples_per_prompt
        if batch % self.train_batch_size:
            problems.append(
                f"promptsPerStep × samplesPerPrompt = {batch} responses do not divide into updates of trainBatchSize = "
                f"{self.train_batch_size}; make trainBatchSize a divisor of {batch}"
            )
        if self.algorithm is not Algorithm.PPO and self.samples_per_prompt < 2:
            problems.append(
                f"algorithm {self.algorithm} compares a prompt's samples; set samplesPerPrompt to 2 or more"
            )
        if self.top_p < 1:
            problems.append(f"topP {self.top_p:g} {_TOP_P}")
        if self.importance_clip and self.importance_clip[0] > self.importance_clip[1]:
            problems.append("importanceClip is [low, high]; the first is larger than the second")
        refuse(problems)
        return self

    @property
    def updates_per_step(self) -> int:
        return self.prompts_per_step * self.samples_per_prompt // self.train_batch_size * self.update_epochs
