"""`spec.cluster` and `spec.schedule`: where the work is done, and when."""

from __future__ import annotations

from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from limr.cel import Cel
from limr.spec.part import ObjectName, Part, Uri, refuse
from limr.spec.volumes import ModelCache, Scratch
from limr.spec.workers import LearnerPods, Place, RolloutPods


class Cluster(Part):
    image: Uri | None = Field(None, description="Trainer image, best by digest; default: the operator's.")
    image_pull_secrets: list[ObjectName] = Field([], max_length=8, description="Secrets to pull the image with.")
    driver: Place = Field(Place(), description="Ray head, with the training loop; also selection and report.")
    learner: LearnerPods = Field(
        LearnerPods(), description="Pods with DeepSpeed ranks of actor, critic and reference: one rank on each GPU."
    )
    rollout: RolloutPods = Field(
        RolloutPods(), description="Pods with vLLM engines: each engine on tensorParallel GPUs."
    )
    scratch: Scratch = Field(Scratch(), description="Where learners keep checkpoints on their way to the store.")
    model_cache: ModelCache | None = Field(
        None,
        description="Where Pods keep models and compiled kernels; default: in each Pod, until it ends. On a laptop the "
        "libraries' own places count.",
    )

    cel = (
        Cel(
            "(self.learner.gpus > 0) == (self.rollout.gpus > 0)",
            "learner.gpus = ${self.learner.gpus} and rollout.gpus = ${self.rollout.gpus}, but one image serves "
            "both and is built for GPUs or for CPUs; give both GPUs or neither",
            at="learner.gpus",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.learner.gpus > 0) != (self.rollout.gpus > 0):
            refuse(
                [
                    f"learner.gpus = {self.learner.gpus} and rollout.gpus = {self.rollout.gpus}, but one image serves "
                    "both and is built for GPUs or for CPUs; give both GPUs or neither"
                ]
            )
        return self


class Schedule(Part):
    queue: ObjectName | None = Field(None, description="Kueue LocalQueue.")
    priority_class: ObjectName | None = Field(None, description="PriorityClass of the Pods.")
    suspend: bool = Field(False, description="true: checkpoint, then stop; false again: go on at the same step.")
    parallel_stages: int | None = Field(
        None, ge=1, le=100, description="How many stages may run at once; default: all that can. On a laptop one."
    )
    reuse_cluster: bool = Field(
        False,
        description="true: the stages run one after another in one RayCluster, which is started once and held in "
        "between; see docs/gpu-pools.md. On a laptop they always share one Ray.",
    )

    cel = (
        Cel(
            "!self.reuseCluster || !has(self.parallelStages) || self.parallelStages == 1",
            "reuseCluster runs one stage at a time, not parallelStages = ${self.parallelStages}; "
            "set parallelStages to 1 or remove it",
            at="parallelStages",
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reuse_cluster and self.parallel_stages not in (None, 1):
            raise ValueError(
                f"reuseCluster runs one stage at a time, not parallelStages = {self.parallel_stages}; "
                "set parallelStages to 1 or remove it"
            )
        return self

    @property
    def slots(self) -> int | None:
        """How many stages may run at once; None: all that can."""
        return 1 if self.reuse_cluster else self.parallel_stages
