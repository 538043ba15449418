"""`spec.cluster.driver`, `.learner`, `.rollout`: the Pods of a stage, and what works in each of them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from limr.cel import Cel
from limr.spec.part import Part, refuse

LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$", max_length=253)
]


GpuType = Literal[
    "l4-24gb", "a10g-24gb", "l40s-48gb", "a100-40gb", "a100-80gb", "h100-80gb", "h200-141gb", "b200-180gb"
]


OBJECT_STORE_SHARE = 0.4  # of a Pod's memory: weights on their way from learner to engines lie there


class Place(Part):
    """Where a Pod runs and what it asks for. On a laptop none of it counts."""

    cpus: float = Field(1, gt=0, description="CPU cores that each Pod asks for, shared by all that works in it.")
    memory_gib: float | None = Field(
        None,
        gt=0,
        description="Host memory of each Pod, in GiB, asked for and at most; "
        f"{100 * OBJECT_STORE_SHARE:.0f} % of it for Ray's objects.",
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
    """Pods of one kind of Ray worker."""

    replicas: int = Field(1, ge=1, le=1024, description="How many Pods; on a laptop, how many processes.")
    gpus: int = Field(
        1,
        ge=0,
        le=16,
        description="GPUs of each Pod; 0 on a cluster without GPUs. Ignored on a laptop without GPUs.",
    )
    gpu_type: GpuType | None = Field(
        None, description="Kind of its GPUs, for the plan of memory; of one that is not listed, the next smaller."
    )
    processes: int = Field(
        1, ge=1, le=16, description="Where gpus is 0: processes of each Pod, which stand in for its GPUs."
    )

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.processes == 1 || self.gpus == 0",
            "processes stand in for GPUs, and gpus = ${self.gpus} of each Pod have a process each; write gpus: 0 or "
            "remove processes",
            at="processes",
        ),
    )

    @property
    def devices(self) -> int:
        """GPUs of each Pod, or the processes that stand in for them."""
        return self.gpus or self.processes

    def _problems(self) -> list[str]:
        if self.processes == 1 or self.gpus == 0:
            return []
        return [
            f"processes stand in for GPUs, and gpus = {self.gpus} of each Pod have a process each; write gpus: 0 or "
            "remove processes"
        ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse(self._problems())
        return self


class LearnerPods(Role):
    """Each Pod has one rank of actor, critic and reference on each of its GPUs."""

    topology_key: LabelKey | None = Field(
        None,
        description="Label of nodes that share a fast network (a rack, an NVLink domain): learner Pods prefer nodes "
        "with one value of it. With schedule.queue, Kueue is asked for the same; its Topology must have this level. "
        "Default: one host, else one zone.",
    )


MAX_SEQUENCES = 512  # that one engine samples at the same time, where the spec does not say it


class EngineOptions(Part):
    """What vLLM is started with. Every field has a default that suits the device."""

    memory_share: float | None = Field(
        None, gt=0, le=1, description="Share of a GPU's memory for weights and KV cache. Default: vLLM's, 0.92."
    )
    max_sequences: int | None = Field(
        None, ge=1, le=65536, description=f"Responses sampled at the same time. Default: {MAX_SEQUENCES}."
    )
    max_batched_tokens: int | None = Field(
        None, ge=1, description="Tokens of one forward pass. Default: vLLM's, by GPU."
    )
    kv_cache_dtype: Literal["auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"] | None = Field(
        None,
        description="Precision of the KV cache. Default: the model's. With fp8 the sampler's probabilities differ from "
        "the learner's: keep ppo.importanceClip on.",
    )
    attention_backend: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)] | None = Field(
        None, description="vLLM's name of an attention backend, such as FLASH_ATTN. Default: vLLM's choice."
    )
    prefix_caching: bool | None = Field(
        None, description="Keep the KV cache of prompts that samples share. Default: vLLM's, which is true."
    )
    batch_invariant: bool = Field(
        False,
        description="Results do not depend on what else is in the batch (NVIDIA GPUs of compute capability 8 or "
        "higher); slower.",
    )


# What vLLM's CPU build ignores or cannot do: its KV cache has a fixed size, and one attention kernel.
_GPU_ENGINE_OPTIONS = {
    "memory_share": "memoryShare",
    "kv_cache_dtype": "kvCacheDtype",
    "attention_backend": "attentionBackend",
}
_WITHOUT_GPUS = f"{', '.join(_GPU_ENGINE_OPTIONS.values())} and batchInvariant"


class RolloutPods(Role):
    """Each Pod has gpus / tensorParallel engines."""

    tensor_parallel: int = Field(
        1, ge=1, le=16, description="GPUs of one engine, which hold the model together; a divisor of gpus."
    )
    engine: EngineOptions = Field(EngineOptions(), description="Settings of each engine.")

    cel: ClassVar[tuple[Cel, ...]] = (
        *Role.cel,
        Cel(
            "(self.gpus > 0 ? self.gpus : self.processes) % self.tensorParallel == 0",
            "the ${self.gpus} GPUs (without GPUs, the ${self.processes} processes) of a Pod do not divide into engines "
            "of tensorParallel = ${self.tensorParallel}; make it a divisor",
            at="tensorParallel",
        ),
        Cel(
            "self.gpus > 0 || !(self.engine.batchInvariant || "
            + " || ".join(f"has(self.engine.{name})" for name in _GPU_ENGINE_OPTIONS.values())
            + ")",
            f"{_WITHOUT_GPUS} have no meaning for vLLM's CPU build; remove them or give the Pods gpus",
            at="engine",
        ),
    )

    def _problems(self) -> list[str]:
        problems = super()._problems()
        if self.devices % self.tensor_parallel:
            problems.append(
                f"the {self.gpus} GPUs (without GPUs, the {self.processes} processes) of a Pod do not divide into "
                f"engines of tensorParallel = {self.tensor_parallel}; make it a divisor"
            )
        gpu_options = [getattr(self.engine, name) for name in _GPU_ENGINE_OPTIONS]
        if not self.gpus and (self.engine.batch_invariant or any(value is not None for value in gpu_options)):
            problems.append(
                f"engine: {_WITHOUT_GPUS} have no meaning for vLLM's CPU build; remove them or give the Pods gpus"
            )
        return problems
