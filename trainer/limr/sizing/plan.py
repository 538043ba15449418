"""The plan of an experiment: what a rank and an engine need, what a step moves and takes, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from limr import topology
from limr.sizing import step
from limr.sizing.architecture import Architecture
from limr.sizing.engine import BATCHED_TOKENS, MEMORY_SHARE, EngineMemory, Engines, engine_memory
from limr.sizing.engine import PROCESS as ENGINE_PROCESS
from limr.sizing.gpus import GPUS, Gpu
from limr.sizing.learner import WIDTH, Learners, RankMemory, rank_memory
from limr.sizing.step import StepTime, Traffic
from limr.spec import MAX_SEQUENCES, OBJECT_STORE_SHARE, Spec
from limr.topology import DeviceKind, Workers

GRADIENT_DTYPE = "float32"  # in which learners add gradients up, whatever the weights are


@dataclass(frozen=True)
class ResourcePlan:
    model: Architecture
    learner_workers: Workers
    engine_workers: Workers
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

    @property
    def on_gpus(self) -> bool:
        return self.learner_workers.kind is DeviceKind.CUDA


def make_plan(spec: Spec, model: Architecture, kind: DeviceKind) -> ResourcePlan:
    learner_workers = topology.learners(spec.cluster.learner, kind)
    engine_workers = topology.engines(spec.cluster.rollout, kind)
    on_gpus = kind is DeviceKind.CUDA
    learner_gpu, rollout_gpu = (
        GPUS[role.gpu_type] if on_gpus and role.gpu_type else None
        for role in (spec.cluster.learner, spec.cluster.rollout)
    )
    resident = Learners(
        model=model,
        ppo=spec.ppo,
        ranks=learner_workers.actors,
        dtype=spec.model.dtype,
        gradient_dtype=GRADIENT_DTYPE,
        offload=False,
        on_gpu=on_gpus,
    )
    learners = replace(resident, offload=_offload(spec, learner_gpu, resident))
    memory = rank_memory(learners)
    options = spec.cluster.rollout.engine
    sampling = Engines(
        model=model,
        dtype=spec.model.dtype,
        tensor_parallel=engine_workers.devices_per_actor,
        max_tokens=spec.ppo.max_prompt_tokens + spec.ppo.max_response_tokens,
        max_sequences=options.max_sequences or MAX_SEQUENCES,
        memory_share=options.memory_share or MEMORY_SHARE,
        batched_tokens=options.max_batched_tokens or BATCHED_TOKENS,
        gpu_memory=rollout_gpu.memory if rollout_gpu else None,
    )
    engine = engine_memory(sampling) if rollout_gpu or not on_gpus else None
    return ResourcePlan(
        model=model,
        learner_workers=learner_workers,
        engine_workers=engine_workers,
        learner_gpu=learner_gpu,
        rollout_gpu=rollout_gpu,
        learners=learners,
        memory=memory,
        without_offload=rank_memory(resident).device,
        engines=sampling,
        engine=engine,
        learner_host=_pod_host(learner_workers.actors_per_pod * memory.host, spec, model),
        rollout_host=_pod_host(
            engine_workers.actors_per_pod * engine_workers.devices_per_actor * ENGINE_PROCESS, spec, model
        ),
        traffic=step.traffic(learners),
        time=step.step_time(
            learners, learner_gpu, learner_workers.actors_per_pod, sampling, engine, rollout_gpu, engine_workers.actors
        )
        if learner_gpu and rollout_gpu and engine
        else None,
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
