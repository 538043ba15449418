"""The plan of an experiment: what a rank and an engine need, what a step moves and takes, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from limr.sizing import step
from limr.sizing.architecture import Architecture
from limr.sizing.engine import BATCHED_TOKENS, MEMORY_SHARE, EngineMemory, Engines, engine_memory
from limr.sizing.engine import PROCESS as ENGINE_PROCESS
from limr.sizing.gpus import GPUS, Gpu
from limr.sizing.learner import WIDTH, Learners, RankMemory, rank_memory
from limr.sizing.step import StepTime, Traffic
from limr.spec import MAX_SEQUENCES, OBJECT_STORE_SHARE, Spec
from limr.topology import DeviceKind, engines, learners

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


def topology_of(spec: Spec, kind: DeviceKind) -> Topology:
    ranks, rollouts = learners(spec.cluster.learner, kind), engines(spec.cluster.rollout, kind)
    return Topology(
        learner_pods=ranks.pods,
        ranks_per_pod=ranks.actors_per_pod,
        rollout_pods=rollouts.pods,
        engines_per_pod=rollouts.actors_per_pod,
        tensor_parallel=rollouts.devices_per_actor,
        on_gpus=kind is DeviceKind.CUDA,
    )


def make_plan(spec: Spec, model: Architecture, topology: Topology) -> ResourcePlan:
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
    ranks = replace(resident, offload=_offload(spec, learner_gpu, resident))
    memory = rank_memory(ranks)
    options = spec.cluster.rollout.engine
    sampling = Engines(
        model=model,
        dtype=spec.model.dtype,
        tensor_parallel=topology.tensor_parallel,
        max_tokens=spec.ppo.max_prompt_tokens + spec.ppo.max_response_tokens,
        max_sequences=options.max_sequences or MAX_SEQUENCES,
        memory_share=options.memory_share or MEMORY_SHARE,
        batched_tokens=options.max_batched_tokens or BATCHED_TOKENS,
        gpu_memory=rollout_gpu.memory if rollout_gpu else None,
    )
    engine = engine_memory(sampling) if rollout_gpu or not topology.on_gpus else None
    return ResourcePlan(
        model=model,
        topology=topology,
        learner_gpu=learner_gpu,
        rollout_gpu=rollout_gpu,
        learners=ranks,
        memory=memory,
        without_offload=rank_memory(resident).device,
        engines=sampling,
        engine=engine,
        learner_host=_pod_host(topology.ranks_per_pod * memory.host, spec, model),
        rollout_host=_pod_host(topology.engines_per_pod * topology.tensor_parallel * ENGINE_PROCESS, spec, model),
        traffic=step.traffic(ranks),
        time=_time(ranks, topology, sampling, engine, learner_gpu, rollout_gpu),
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
