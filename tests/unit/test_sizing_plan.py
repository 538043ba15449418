"""The plan of an experiment: what it needs grows and shrinks as it must, and what cannot run is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.sizing.architecture import Architecture, from_config
from limr.sizing.findings import DoesNotFit, Severity, find, refuse_what_does_not_fit
from limr.sizing.gpus import GIB, GPUS
from limr.sizing.learner import Learners, rank_memory
from limr.sizing.plan import ResourcePlan, make_plan
from limr.sizing.stage import offloads
from limr.spec import PPO, Spec
from limr.spec.workers import GpuType
from limr.topology import DeviceKind
from limr.validate import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "qwen2.5-math-7b"
QWEN = from_config(json.loads((EXAMPLE / "config.json").read_text()), "config.json")
TINY = replace(QWEN, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=128, vocabulary=500)
H100 = GPUS["h100-80gb"]


def example(*settings: str) -> Spec:
    return load(EXAMPLE / "experiment.yaml", settings).spec


def planned(*settings: str, model: Architecture = QWEN) -> ResourcePlan:
    spec = example(*settings)
    return make_plan(spec, model, DeviceKind.CUDA)


def found(*settings: str, model: Architecture = QWEN) -> list[tuple[str, str]]:
    spec = example(*settings)
    plan = make_plan(spec, model, DeviceKind.CUDA)
    return [(str(finding.severity), finding.field) for finding in find(spec, plan)]


def test_every_kind_of_gpu_is_known() -> None:
    assert set(GPUS) == set(GpuType.__args__)  # type: ignore[attr-defined]


def test_the_example_fits_as_it_is_written() -> None:
    plan = planned()
    assert found() == []
    assert not plan.learners.offload
    assert 40 * GIB < plan.memory.device < H100.memory
    assert plan.engine is not None
    assert plan.engine.full_sequences > 100
    assert (plan.learner_workers.actors, plan.engine_workers.actors) == (8, 8)


def test_the_shards_of_the_example_are_those_of_the_papers_of_zero() -> None:
    """Rajbhandari et al. 2020, arXiv:1910.02054: 2 bytes of weights and 12 of optimizer for each parameter."""
    terms = {term.name: term.device for term in planned().memory.standing}
    assert terms["actor's weights"] == pytest.approx(2 * QWEN.parameters / 8, rel=1e-6)
    assert terms["actor's optimizer"] == pytest.approx(12 * QWEN.parameters / 8, rel=1e-6)
    assert terms["critic's optimizer"] == pytest.approx(12 * QWEN.backbone / 8, rel=1e-6)


def test_bytes_that_move_in_the_example() -> None:
    """256 micro-batches of a rank: three models forward, then two forward, backward and reduced in float32."""
    traffic = planned().traffic
    both = QWEN.parameters + QWEN.backbone
    assert traffic.gathers == pytest.approx(
        256 * 7 / 8 * (2 * (QWEN.parameters + both) + 2 * 2 * both + 4 * both), rel=1e-6
    )
    assert traffic.weights == 2 * QWEN.parameters
    assert traffic.checkpoint == 14 * both


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["spec.ppo.zeroStage=1"], ("error", "spec.cluster.learner")),
        (["spec.ppo.gradientCheckpointing=false"], ("error", "spec.cluster.learner")),
        (
            ["spec.cluster.rollout.gpuType=l4-24gb", "spec.ppo.maxResponseTokens=65536"],
            ("error", "spec.cluster.rollout"),
        ),
        (
            ["spec.cluster.rollout.gpuType=l4-24gb", "spec.ppo.maxResponseTokens=16384"],
            ("warning", "spec.cluster.rollout"),
        ),
        (["spec.ppo.offloadOptimizer=true"], ("warning", "spec.ppo.offloadOptimizer")),
        (["spec.cluster.learner.memoryGib=30"], ("error", "spec.cluster.learner.memoryGib")),
        (["spec.cluster.rollout.memoryGib=30"], ("error", "spec.cluster.rollout.memoryGib")),
        (["spec.limits.waitSeconds=3"], ("warning", "spec.limits.waitSeconds")),
        (["spec.ppo.maxResponseTokens=4000"], ("warning", "spec.ppo.maxResponseTokens")),
        (["spec.cluster.learner.gpuType=null"], ("warning", "spec.cluster.learner.gpuType")),
        (["spec.cluster.rollout.gpuType=null"], ("warning", "spec.cluster.rollout.gpuType")),
    ],
)
def test_what_is_wrong_is_found(settings: list[str], expected: tuple[str, str]) -> None:
    assert expected in found(*settings)


@pytest.mark.parametrize(("parallel", "wrong"), [(1, False), (2, False), (4, False), (3, True), (8, True), (28, False)])
def test_tensor_parallel_must_divide_the_heads(parallel: int, wrong: bool) -> None:
    """Of 28 query and 4 key and value heads."""
    spec, plan = example(), planned()
    plan = replace(plan, engine_workers=replace(plan.engine_workers, devices_per_actor=parallel))
    fields = [finding.field for finding in find(spec, plan) if finding.severity is Severity.ERROR]
    assert ("spec.cluster.rollout.tensorParallel" in fields) == wrong


def test_a_model_that_does_not_fit_is_refused_with_a_remedy_that_fits() -> None:
    spec = example("spec.ppo.gradientCheckpointing=false")
    with pytest.raises(DoesNotFit, match=r"a rank needs .* of a h100-80gb, .*; write ppo.gradientCheckpointing: true"):
        refuse_what_does_not_fit(find(spec, make_plan(spec, QWEN, DeviceKind.CUDA)))
    assert found("spec.ppo.gradientCheckpointing=true") == []


def test_evaluation_that_is_longer_than_training_is_planned_too() -> None:
    benchmark = "spec.evaluation.benchmarks=[{name: long, uri: a.jsonl, maxResponseTokens: 65536}]"
    spec = example("spec.cluster.rollout.gpuType=l4-24gb", "spec.evaluation.protocol=null", benchmark)
    findings = find(spec, make_plan(spec, QWEN, DeviceKind.CUDA))
    assert [(finding.severity, finding.field) for finding in findings] == [
        (Severity.ERROR, "spec.cluster.rollout"),
        (Severity.WARNING, "spec.evaluation.benchmarks[0].maxResponseTokens"),
    ]
    assert findings[0].message.endswith("or a smaller evaluation.benchmarks[0].maxResponseTokens")


def test_warnings_refuse_nothing() -> None:
    spec = example("spec.ppo.offloadOptimizer=true", "spec.cluster.learner.memoryGib=400")
    findings = find(spec, make_plan(spec, QWEN, DeviceKind.CUDA))
    assert [finding.severity for finding in findings] == [Severity.WARNING]
    refuse_what_does_not_fit(findings)


def test_the_optimizer_is_offloaded_only_where_it_does_not_fit() -> None:
    small = [
        "spec.cluster.learner.gpuType=a100-40gb",
        "spec.ppo.microBatchSize=1",
        "spec.cluster.learner.memoryGib=400",
    ]
    assert planned(*small).learners.offload
    assert planned(*small).memory.device < GPUS["a100-40gb"].memory
    assert not planned(*small, model=TINY).learners.offload
    assert not planned(*small, "spec.ppo.offloadOptimizer=false").learners.offload
    assert planned("spec.cluster.learner.gpuType=null").learners.offload, "nothing says that it fits"
    assert offloads(example(), None)


def test_a_tiny_model_asks_for_no_kind_of_gpu() -> None:
    assert found("spec.cluster.learner.gpuType=null", "spec.cluster.rollout.gpuType=null", model=TINY) == []


def test_without_gpus_nothing_is_said_of_them() -> None:
    spec = example("spec.ppo.gradientCheckpointing=false")
    plan = make_plan(spec, TINY, DeviceKind.CPU)
    assert find(spec, plan) == []
    assert (plan.learner_workers.actors, plan.time, plan.memory.host) == (1, None, 0)


learners = st.builds(
    lambda **fields: Learners(
        model=QWEN,
        ppo=PPO.model_validate({"microBatchSize": fields.pop("micro"), **fields.pop("ppo")}),
        gradient_dtype="float32",
        **fields,
    ),
    micro=st.integers(1, 16),
    ppo=st.fixed_dictionaries(
        {
            "zeroStage": st.sampled_from([1, 2, 3]),
            "algorithm": st.sampled_from(["ppo", "grpo"]),
            "gradientCheckpointing": st.booleans(),
            "packing": st.booleans(),
            "klCoefficient": st.sampled_from([0.0, 0.01]),
        }
    ),
    ranks=st.sampled_from([1, 2, 4, 8, 16]),
    dtype=st.sampled_from(["bfloat16", "float32"]),
    offload=st.booleans(),
    on_gpu=st.booleans(),
)


@given(given=learners)
def test_less_work_on_a_rank_never_needs_more(given: Learners) -> None:
    memory = rank_memory(given)
    assert all(term.device >= 0 and term.host >= 0 for term in (*memory.standing, *memory.moments))
    ppo = given.ppo
    lighter = [
        replace(given, offload=True),
        replace(given, ppo=ppo.model_copy(update={"gradient_checkpointing": True})),
        replace(given, ppo=ppo.model_copy(update={"kl_coefficient": 0.0})),
        replace(given, ppo=ppo.model_copy(update={"micro_batch_size": max(1, ppo.micro_batch_size // 2)})),
        replace(given, model=replace(given.model, layers=given.model.layers // 2)),
    ]
    for other in lighter:
        assert rank_memory(other).device <= memory.device
    if given.ranks > 1:
        assert rank_memory(replace(given, ranks=2 * given.ranks)).device <= memory.device


def test_the_step_time_of_the_example_is_of_the_published_order() -> None:
    """Published steps of 7B models take minutes: 790 s with verl on 32 GPUs, 401 s with SkyRL on 8 H100."""
    time = planned().time
    assert time is not None
    assert 200 < time.total < 1200
    assert time.updates == 32
    twice = planned("spec.cluster.learner.replicas=2").time
    assert twice is not None
    assert twice.generation == time.generation
    slower = planned("spec.cluster.learner={replicas: 8, gpus: 1, gpuType: h100-80gb}").time
    assert slower is not None
    assert slower.training > 2 * time.training, "gathers between Pods take longer than the work"
