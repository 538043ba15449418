"""`spec.cluster` and `spec.schedule`: where the work is done, and when."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from limr.cel import Cel
from limr.spec.part import ObjectName, Part, Uri

GpuType = Literal[
    "l4-24gb", "a10g-24gb", "l40s-48gb", "a100-40gb", "a100-80gb", "h100-80gb", "h200-141gb", "b200-180gb"
]


class Place(Part):
    """Where a Pod runs and what it asks for. On a laptop none of it counts."""

    cpus: float = Field(1, gt=0, description="CPU cores that each asks for.")
    memory_gib: float | None = Field(
        None, gt=0, description="Host memory of each, in GiB, asked for and at most; 40 % of it for Ray's objects."
    )
    node_selector: dict[str, str] = Field({}, max_length=64, description="Labels of the nodes it may run on.")
    tolerations: list[dict[str, Any]] = Field([], max_length=64, description="Taints it tolerates, as in a Pod.")
    affinity: dict[str, Any] = Field({}, description="Affinity, as in a Pod.")
    topology_spread: list[dict[str, Any]] = Field(
        [], max_length=8, description="topologySpreadConstraints, as in a Pod."
    )
    pod_template: dict[str, Any] = Field(
        {},
        description="Merged over the Pod template by the rules of a strategic merge patch: containers, volumes and "
        "variables by their name. The main container's name is 'limr'.",
    )


class Role(Place):
    """One kind of Ray worker. On a laptop only `replicas` counts."""

    replicas: int = Field(1, ge=1, le=1024, description="How many processes, each in a Pod of its own.")
    gpus: int = Field(1, ge=0, le=16, description="GPUs of each; 0 on a cluster without GPUs.")
    gpu_type: GpuType | None = Field(
        None, description="Kind of its GPUs, for the plan of memory; of one that is not listed, the next smaller."
    )


class Cluster(Part):
    image: Uri | None = Field(None, description="Trainer image, best by digest; default: the operator's.")
    image_pull_secrets: list[ObjectName] = Field([], max_length=8, description="Secrets to pull the image with.")
    driver: Place = Field(Place(), description="Ray head, with the training loop; also selection and report.")
    learner: Role = Field(Role(), description="DeepSpeed processes: one rank of actor, critic and reference each.")
    rollout: Role = Field(Role(), description="vLLM engines.")


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
