"""The plan of an experiment: what a rank and an engine need, what a step moves and takes, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from limr.sizing import step
from limr.sizing.architecture import Architecture
from limr.sizing.engine import PROCESS as ENGINE_PROCESS
from limr.sizing.engine import EngineMemory, Engines, engine_memory
from limr.sizing.gpus import GPUS, Gpu
from limr.sizing.learner import WIDTH, Learners, RankMemory, rank_memory
from limr.sizing.step import StepTime, Traffic
from limr.spec import Spec

OBJECT_STORE_SHARE = 0.4  # of a Pod's memory, that Ray's objects get
GRADIENT_DTYPE = "float32"  # in which learners add gradients up, whatever the weights are


@dataclass(frozen=True)
class Topology:
    """How a cluster's GPUs, or the processes where there are none, are dealt out."""

    learner_pods: int
    ranks_per_pod: int
    rollout_pods: int
    engines_per_pod: int
    tensor_parallel: int
    on_gpus: bool

    @property
    def ranks(self) -> int:
        return self.learner_pods * self.ranks_per_pod

    @property
    def engines(self) -> int:
        return self.rollout_pods * self.engines_per_pod


@dataclass(frozen=True)
class ResourcePlan:
    model: Architecture
    topology: Topology
    learner_gpu: Gpu | None  # None: not known, or no GPU
    rollout_gpu: Gpu | None
    learners: Learners  # with offload as decided
    memory: RankMemory
    without_offload: int  # bytes on a rank's GPU, if nothing were offloaded
    engines: Engines
    engine: EngineMemory | None  # None where the GPU is not known
    learner_host: int  # bytes of host memory of a learner Pod
    rollout_host: int
    traffic: Traffic
    time: StepTime | None  # None where a GPU is not known


def topology_of(spec: Spec, on_gpus: bool) -> Topology:
    """One rank for each GPU of a learner, one engine for each of a rollout Pod; without GPUs one process each."""
    learner, rollout = spec.cluster.learner, spec.cluster.rollout
    return Topology(
        learner_pods=learner.replicas,
        ranks_per_pod=max(1, learner.gpus) if on_gpus else 1,
        rollout_pods=rollout.replicas,
        engines_per_pod=max(1, rollout.gpus) if on_gpus else 1,
        tensor_parallel=1,
        on_gpus=on_gpus,
    )


def has_gpus(spec: Spec) -> bool:
    return spec.cluster.learner.gpus > 0


def make_plan(spec: Spec, model: Architecture, topology: Topology) -> ResourcePlan:
    """`topology` is `topology_of(spec, …)` unless the caller knows better."""
    learner_gpu, rollout_gpu = (
        GPUS[role.gpu_type] if topology.on_gpus and role.gpu_type else None
        for role in (spec.cluster.learner, spec.cluster.rollout)
    )
    resident = Learners(
        model=model,
        ppo=spec.ppo,
        ranks=topology.ranks,
        dtype=spec.model.dtype,
        gradient_dtype=GRADIENT_DTYPE,
        offload=False,
        on_gpu=topology.on_gpus,
    )
    learners = replace(resident, offload=_offload(spec, learner_gpu, resident))
    memory = rank_memory(learners)
    engines = Engines(
        model=model,
        dtype=spec.model.dtype,
        tensor_parallel=topology.tensor_parallel,
        max_tokens=spec.ppo.max_prompt_tokens + spec.ppo.max_response_tokens,
        gpu_memory=rollout_gpu.memory if rollout_gpu else None,
    )
    engine = engine_memory(engines) if rollout_gpu or not topology.on_gpus else None
    return ResourcePlan(
        model=model,
        topology=topology,
        learner_gpu=learner_gpu,
        rollout_gpu=rollout_gpu,
        learners=learners,
        memory=memory,
        without_offload=rank_memory(resident).device,
        engines=engines,
        engine=engine,
        learner_host=_pod_host(topology.ranks_per_pod * memory.host, spec, model),
        rollout_host=_pod_host(topology.engines_per_pod * topology.tensor_parallel * ENGINE_PROCESS, spec, model),
        traffic=step.traffic(learners),
        time=_time(learners, topology, engines, engine, learner_gpu, rollout_gpu),
    )


def _pod_host(processes: int, spec: Spec, model: Architecture) -> int:
    """Bytes of a Pod's memory with the policy's weights, the new ones and the last, among Ray's objects."""
    objects = 2 * WIDTH[spec.model.dtype] * model.parameters
    return max(processes + objects, int(objects / OBJECT_STORE_SHARE))


def _offload(spec: Spec, gpu: Gpu | None, resident: Learners) -> bool:
    """As the spec says; else only where that makes it fit, or where nothing says that it fits without."""
    if spec.ppo.offload_optimizer is not None:
        return spec.ppo.offload_optimizer
    if gpu is None:
        return True
    offloaded = replace(resident, offload=True)
    return rank_memory(resident).device > gpu.memory >= rank_memory(offloaded).device


def _time(
    learners: Learners,
    topology: Topology,
    engines: Engines,
    engine: EngineMemory | None,
    learner_gpu: Gpu | None,
    rollout_gpu: Gpu | None,
) -> StepTime | None:
    if learner_gpu is None or rollout_gpu is None or engine is None:
        return None
    return step.step_time(learners, learner_gpu, topology.ranks_per_pod, engines, engine, rollout_gpu, topology.engines)
