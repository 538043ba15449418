"""What is wrong with a plan: each finding names the field and says what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from limr.errors import LimrError
from limr.sizing.engine import engine_memory
from limr.sizing.gpus import GIB, GPUS
from limr.sizing.learner import WIDTH, Learners, rank_memory
from limr.sizing.plan import ResourcePlan
from limr.spec import Spec

FULL_SEQUENCES = 4  # fewer in the KV cache make an engine stop and compute sequences again


class Severity(StrEnum):
    ERROR = "error"  # it cannot run
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    severity: Severity
    field: str  # path in the experiment's file
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.field}: {self.message}"


class DoesNotFit(LimrError):
    """The plan says that the stage cannot run on the GPUs that the spec asks for."""

    reason = "DoesNotFit"


def find(spec: Spec, plan: ResourcePlan) -> list[Finding]:
    return [
        *_tensor_parallel(plan),
        *_learner(spec, plan),
        *_engine(spec, plan),
        *_offload(spec, plan),
        *_host_memory(spec, plan),
        *_wait(spec, plan),
        *_positions(spec, plan),
        *_unknown_gpus(spec, plan),
    ]


def refuse_what_does_not_fit(findings: list[Finding]) -> None:
    """Raises DoesNotFit with every error among `findings`."""
    errors = [f"{finding.field}: {finding.message}" for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise DoesNotFit("; ".join(errors))


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _tensor_parallel(plan: ResourcePlan) -> Iterator[Finding]:
    model, parallel = plan.model, plan.engine_workers.devices_per_actor
    field = "spec.cluster.rollout.tensorParallel"
    if model.heads % parallel:
        fitting = [str(n) for n in range(1, 17) if not model.heads % n]
        message = f"is {parallel}, but the model has {model.heads} attention heads; write one of {', '.join(fitting)}"
        yield Finding(Severity.ERROR, field, message)
    elif model.kv_heads % parallel and parallel % model.kv_heads:
        message = (
            f"is {parallel}, which neither divides the model's {model.kv_heads} key and value heads nor is a multiple "
            f"of them; write {model.kv_heads} or a divisor of it"
        )
        yield Finding(Severity.ERROR, field, message)


def _learner(spec: Spec, plan: ResourcePlan) -> Iterator[Finding]:
    gpu = plan.learner_gpu
    if gpu is None or plan.memory.device <= gpu.memory:
        return
    largest = max((*plan.memory.standing, plan.memory.worst), key=lambda term: term.device)
    yield Finding(
        Severity.ERROR,
        "spec.cluster.learner",
        f"a rank needs {gib(plan.memory.device)} of the {gib(gpu.memory)} of a {spec.cluster.learner.gpu_type}, "
        f"the largest part for {largest.name} ({gib(largest.device)}); {_remedy(plan.learners, gpu.memory)}",
    )


def _remedy(given: Learners, memory: int) -> str:
    """The least change that makes it fit."""
    for changed in _changes(given):
        if rank_memory(changed).device <= memory:
            return f"write {_difference(given, changed)}"
    return "use GPUs with more memory, or a smaller model"


def _changes(given: Learners) -> Iterator[Learners]:
    """Each costs more speed than the one before."""
    given = _with(given, gradient_checkpointing=True)
    yield given
    if given.ranks > 1:
        given = _with(given, zero_stage=3)
        yield given
    size = given.ppo.micro_batch_size
    while size > 1:
        size //= 2
        yield _with(given, micro_batch_size=size)
    given = replace(given, offload=True)
    yield given
    given = _with(given, micro_batch_size=1, zero_stage=3)
    for factor in (1, 2, 4, 8, 16):
        yield replace(given, ranks=given.ranks * factor)


def _with(given: Learners, **fields: object) -> Learners:
    return replace(given, ppo=given.ppo.model_copy(update=fields))


def _difference(given: Learners, changed: Learners) -> str:
    names = {"gradient_checkpointing": "gradientCheckpointing", "zero_stage": "zeroStage"}
    names["micro_batch_size"] = "microBatchSize"
    parts = [
        f"ppo.{alias}: {str(getattr(changed.ppo, name)).lower()}"
        for name, alias in names.items()
        if getattr(changed.ppo, name) != getattr(given.ppo, name)
    ]
    if changed.offload != given.offload:
        parts.append("ppo.offloadOptimizer: true")
    if changed.ranks != given.ranks:
        parts.append(f"as many replicas or gpus of cluster.learner as give {changed.ranks} ranks")
    return ", ".join(parts)


def _sequences(spec: Spec) -> list[tuple[str, int]]:
    """Field and tokens of the longest sequences of training, and of evaluation where those are longer."""
    found = [("spec.ppo.maxResponseTokens", spec.ppo.max_response_tokens)]
    for index, benchmark in enumerate(spec.evaluation.benchmarks):
        found.append((f"spec.evaluation.benchmarks[{index}].maxResponseTokens", benchmark.max_response_tokens or 0))
    longest = max(found, key=lambda one: one[1])  # the first of equals
    return [(field, spec.ppo.max_prompt_tokens + tokens) for field, tokens in dict.fromkeys((found[0], longest))]


def _engine(spec: Spec, plan: ResourcePlan) -> Iterator[Finding]:
    engine = plan.engine
    if engine is None or plan.rollout_gpu is None:
        return
    for field, tokens in _sequences(spec):
        sequences = engine_memory(replace(plan.engines, max_tokens=tokens)).full_sequences
        if sequences >= FULL_SEQUENCES:
            continue
        message = (
            f"an engine has {gib(max(0, engine.cache))} for keys and values beside {gib(engine.weights)} of weights on "
            f"each GPU, room for {sequences:.1f} sequences of {tokens} tokens (4 at least); use a larger "
            f"tensorParallel, GPUs with more memory, or a smaller {field.removeprefix('spec.')}"
        )
        yield Finding(Severity.ERROR if sequences < 1 else Severity.WARNING, "spec.cluster.rollout", message)


def _offload(spec: Spec, plan: ResourcePlan) -> Iterator[Finding]:
    if spec.ppo.offload_optimizer and plan.learner_gpu and plan.without_offload <= plan.learner_gpu.memory:
        yield Finding(
            Severity.WARNING,
            "spec.ppo.offloadOptimizer",
            f"is true, but a rank would need only {gib(plan.without_offload)} of {gib(plan.learner_gpu.memory)} "
            "without it, and every update waits for the host's Adam; leave it out",
        )


def _host_memory(spec: Spec, plan: ResourcePlan) -> Iterator[Finding]:
    if not plan.on_gpus:
        return
    for name, role, needed in (
        ("learner", spec.cluster.learner, plan.learner_host),
        ("rollout", spec.cluster.rollout, plan.rollout_host),
    ):
        if role.memory_gib is not None and needed > role.memory_gib * GIB:
            yield Finding(
                Severity.ERROR,
                f"spec.cluster.{name}.memoryGib",
                f"is {role.memory_gib:g}, but a Pod needs about {gib(needed)} of host memory; "
                f"write {-(-needed // GIB)} or more",
            )


def _wait(spec: Spec, plan: ResourcePlan) -> Iterator[Finding]:
    if plan.time is None:
        return
    call, seconds = plan.time.longest_call(spec.ppo.updates_per_step)
    if seconds > spec.limits.wait_seconds:
        yield Finding(
            Severity.WARNING,
            "spec.limits.waitSeconds",
            f"is {spec.limits.wait_seconds}, but {call} takes about {seconds:.0f} s; "
            f"write {_rounded_up(2 * seconds)} or more, and as much for heartbeatSeconds, or use more GPUs",
        )


def _rounded_up(seconds: float) -> int:
    return -(-int(seconds) // 60) * 60


def _positions(spec: Spec, plan: ResourcePlan) -> Iterator[Finding]:
    known = plan.model.max_positions
    for field, tokens in _sequences(spec):
        if known and tokens > known:
            message = (
                f"gives with ppo.maxPromptTokens sequences of {tokens} tokens, but the model was made for {known}; "
                f"write at most {max(1, known - spec.ppo.max_prompt_tokens)}"
            )
            yield Finding(Severity.WARNING, field, message)


def _unknown_gpus(spec: Spec, plan: ResourcePlan) -> Iterator[Finding]:
    """Only where it matters: what the smallest GPU holds needs no plan."""
    if not plan.on_gpus:
        return
    weights = WIDTH[spec.model.dtype] * plan.model.parameters // plan.engine_workers.devices_per_actor
    for name, gpu, needed in (
        ("learner", plan.learner_gpu, plan.memory.device),
        ("rollout", plan.rollout_gpu, 2 * weights),
    ):
        if gpu is None and needed > min(known.memory for known in GPUS.values()):
            yield Finding(
                Severity.WARNING,
                f"spec.cluster.{name}.gpuType",
                f"is missing, so nothing says whether {gib(needed)} fit on a GPU; write one of {', '.join(GPUS)}",
            )
