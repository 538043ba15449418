"""A plan as text, one role after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from limr.sizing import step
from limr.sizing.findings import Finding, gib
from limr.sizing.gpus import GIB
from limr.sizing.plan import ResourcePlan
from limr.spec import Spec

TERA, GIGA = 1e12, 1e9
WIDTH = 52  # of the column with names


def lines(spec: Spec, plan: ResourcePlan, findings: Iterable[Finding]) -> Iterator[str]:
    yield _model(spec, plan)
    yield ""
    yield from _learners(spec, plan)
    yield ""
    yield from _engines(spec, plan)
    yield ""
    yield from _step(plan)
    found = list(findings)
    if found:
        yield ""
        yield from map(str, found)


def _model(spec: Spec, plan: ResourcePlan) -> str:
    model = plan.model
    active = f", {model.active_parameters / GIGA:.2f} billion of them for each token" if model.experts else ""
    size = f"{model.parameters / GIGA:.2f} billion" if model.parameters >= GIGA / 10 else f"{model.parameters:,}"
    return f"{spec.model.uri}: {model.family}, {size} parameters{active}, {spec.model.dtype}"


def _learners(spec: Spec, plan: ResourcePlan) -> Iterator[str]:
    ranks, ppo, memory = plan.learner_workers, spec.ppo, plan.memory
    where = f"{_pods(ranks.pods)} × {ranks.actors_per_pod} GPUs ({_kind(spec.cluster.learner.gpu_type)})"
    yield f"Learners: {where if plan.on_gpus else 'on CPUs'}, {ranks.actors} ranks, ZeRO-{ppo.zero_stage}"
    micro = plan.learners.micro_batch
    yield f"  micro-batches of {ppo.micro_batch_size} responses, {micro.tokens:,} tokens at most; " + (
        "optimizer in host memory" if plan.learners.offloads else "optimizer beside the weights"
    )
    yield from (_row(term.name, term.device) for term in memory.standing if term.device)
    yield _row(f"largest moment ({memory.worst.name})", memory.worst.device)
    yield _row("a rank needs", memory.device, of=plan.learner_gpu.memory if plan.learner_gpu else None)
    if plan.on_gpus:
        yield _row("host memory of a Pod", plan.learner_host, of=_host(spec.cluster.learner.memory_gib))


def _engines(spec: Spec, plan: ResourcePlan) -> Iterator[str]:
    workers, engine = plan.engine_workers, plan.engine
    where = f"{_pods(workers.pods)} × {workers.actors_per_pod} engines ({_kind(spec.cluster.rollout.gpu_type)})"
    parallel = f", each across {workers.devices_per_actor} GPUs" if workers.devices_per_actor > 1 else ""
    yield f"Engines: {where if plan.on_gpus else f'{workers.actors} on CPUs'}{parallel}"
    if engine is None:
        yield "  (their GPU is not known)"
        return
    yield _row("weights", engine.weights)
    if plan.rollout_gpu:
        yield _row("activations and logits", engine.activations)
        yield _row("CUDA graphs, CUDA, NCCL", engine.runtime)
    yield _row("keys and values", max(0, engine.cache))
    tokens = f"{plan.engines.max_tokens:,} tokens"
    yield f"  {'full sequences at a time':{WIDTH}}{engine.full_sequences:9.1f}     of {tokens}"
    yield _row("an engine needs on each GPU", engine.device, of=plan.rollout_gpu.memory if plan.rollout_gpu else None)
    if plan.on_gpus:
        yield _row("host memory of a Pod", plan.rollout_host, of=_host(spec.cluster.rollout.memory_gib))


def _step(plan: ResourcePlan) -> Iterator[str]:
    traffic = plan.traffic
    yield "A step moves"
    yield _row("ZeRO, for each rank", traffic.gathers)
    yield _row("weights, to each Pod with engines", traffic.weights)
    yield _row("training state, for each checkpoint", traffic.checkpoint)
    if plan.time is None:
        return
    tokens, responses = step.tokens_of_step(plan.learners)
    yield ""
    yield f"A step takes about {plan.time.total:.0f} s (within a factor of two), one part after the other"
    yield from (f"  {name:{WIDTH}}{seconds:9.1f} s" for name, seconds in step.parts(plan.time))
    yield f"  {'one update':{WIDTH}}{step.part_of_update(plan.time):9.1f} s"
    yield (
        f"  assumed: responses of {step.RESPONSE_SHARE:.0%} of maxResponseTokens, prompts of {step.PROMPT_SHARE:.1%} "
        f"of maxPromptTokens ({tokens / 1e6:.1f} million tokens a step, {responses / 1e6:.1f} of responses);"
    )
    yield (
        f"  learners at {step.COMPUTE_SHARE:.0%} of the GPU's peak, engines at {step.BANDWIDTH_SHARE:.0%} of its "
        f"bandwidth, {step.LINK_SHARE:.0%} of the link within a Pod, {step.NETWORK / GIGA:.0f} GB/s between Pods"
    )


def _row(name: str, size: int, of: float | None = None) -> str:
    limit = f" of {gib(of)}" if of else ""
    return f"  {name:{WIDTH}}{size / GIB:9.1f} GiB{limit}"


def _pods(count: int) -> str:
    return "1 Pod" if count == 1 else f"{count} Pods"


def _kind(gpu_type: str | None) -> str:
    return gpu_type or "kind not given"


def _host(memory_gib: float | None) -> float | None:
    return memory_gib * GIB if memory_gib is not None else None
