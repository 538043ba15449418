"""Learners under DeepSpeed: the numbers do not depend on how the work is dealt out, and a restore is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
from engines import cpu_learners, learner_group, learner_settings, ray_cluster, step_batch, trained
from numpy.typing import NDArray

from limr.actors import Actor, results, submit, wait
from limr.devices import actor_options
from limr.learner.group import LearnerGroup
from limr.learner.types import NonFinite
from limr.topology import ranks

pytestmark = pytest.mark.integration

STEPS = 3
SPLIT_BOUND = 1e-2
TEXT = list(range(10, 40))


@pytest.fixture(scope="module", autouse=True)
def ray_running() -> Iterator[None]:
    with ray_cluster():
        yield


def says(group: LearnerGroup) -> NDArray[np.float32]:
    return group.publish(0, TEXT)[1].logprobs


@pytest.fixture(scope="module")
def reference() -> tuple[list[dict[str, float]], NDArray[np.float32]]:
    """One learner, micro-batches of 4, padded."""
    with closing(learner_group(1, microBatchSize=4, packing=False)) as group:
        return trained(group, range(1, STEPS + 1)), says(group)


@pytest.mark.parametrize(
    ("pods", "recipe"),
    [
        (1, {"microBatchSize": 16, "packing": False}),
        pytest.param(1, {"microBatchSize": 4, "packing": True}, marks=pytest.mark.nightly),
        pytest.param(2, {"microBatchSize": 4, "packing": False, "zeroStage": 2}, marks=pytest.mark.nightly),
        (1, {"microBatchSize": 16, "packing": True, "zeroStage": 3, "gradientCheckpointing": True, "processes": 2}),
    ],
    ids=["micro-16", "packed", "two-pods-zero-2", "one-pod-with-two-ranks-zero-3-packed"],
)
def test_losses_do_not_depend_on_how_the_work_is_dealt_out(
    reference: tuple[list[dict[str, float]], NDArray[np.float32]], pods: int, recipe: dict[str, object]
) -> None:
    expected, expected_answer = reference
    with closing(learner_group(pods, **recipe)) as group:
        metrics, answer = trained(group, range(1, STEPS + 1)), says(group)
    for want, got in zip(expected, metrics, strict=True):
        assert got.keys() == want.keys()
        for name in ("policy_loss", "value_loss", "kl", "entropy", "logprob_gap_mean", "return_mean"):
            assert got[name] == pytest.approx(want[name], rel=1e-5, abs=1e-5), name
    assert np.abs(answer - expected_answer).max() < 1e-4


@pytest.mark.parametrize("algorithm", ["grpo", pytest.param("rloo", marks=pytest.mark.nightly)])
def test_group_methods_raise_what_was_rewarded(algorithm: str) -> None:
    recipe: dict[str, Any] = {"algorithm": algorithm, "microBatchSize": 16, "packing": False, "klCoefficient": 0.0}
    with closing(learner_group(1, **recipe)) as group:
        for metrics in trained(group, range(1, STEPS + 1)):
            assert np.isfinite(metrics["policy_loss"])
            assert "value_loss" not in metrics


@contextmanager
def inspected(replicas: int, dtype: str = "float32", **recipe: object) -> Iterator[Callable[..., list[Any]]]:
    """Started InspectedLearners; calls one method on all of them and returns their answers."""
    workers = cpu_learners(processes=replicas)
    arguments = [learner_settings(dtype=dtype, packing=False, **recipe), workers.kind]
    learners = [
        Actor(f"learner {number}", "inspected_learner:InspectedLearner", arguments, actor_options(workers))
        for number in range(replicas)
    ]

    def on_all(method: str, *arguments: object) -> list[Any]:
        return results(submit(learners, method, *arguments), 300)

    try:
        address = wait(learners[0], learners[0].call("free_address"), 300)
        placed = zip(ranks(["here"] * replicas), learners, strict=True)
        results({learner.call("start", rank, address): learner for rank, learner in placed}, 300)
        yield on_all
    finally:
        for learner in learners:
            learner.kill()


@pytest.mark.parametrize("stage", [pytest.param(2, marks=pytest.mark.nightly), 3])
def test_a_weight_that_is_no_number_on_one_rank_is_named_on_all(stage: int) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    with inspected(2, zeroStage=stage) as on_all:
        assert on_all("check") == ["", ""]
        on_all("damage", name, 1)
        expected = f"tensor {name} of the policy was not finite on learner 1 after step 0"
        assert on_all("check") == [expected, expected]
        # A forward pass that meets it ends the step, on both ranks.
        with pytest.raises(NonFinite, match=r"log-probability of a response .* at step 1, before its updates"):
            on_all("measure_step", step_batch(1, 32, 4))


@pytest.mark.nightly
def test_gradients_that_overflow_end_the_step_at_their_update() -> None:
    with (
        closing(learner_group(2, zeroStage=2, packing=False, actorLearningRate=1e20)) as group,
        pytest.raises(NonFinite, match=r"the policy.* not finite on learners 0, 1 at step 1, update 2 of 2"),
    ):
        trained(group, range(1, 2))


@pytest.mark.nightly
@pytest.mark.parametrize(("replicas", "stage"), [(1, 1), (2, 2), (2, 3)])
def test_a_bfloat16_gradient_hardly_depends_on_its_micro_batches(replicas: int, stage: int) -> None:
    found = []
    for size in (16, 1):
        with inspected(replicas, "bfloat16", zeroStage=stage, microBatchSize=size) as on_all:
            found.append(on_all("gradient", step_batch(1, 16, 4))[0])
    whole, split = found
    assert np.linalg.norm(split - whole) < SPLIT_BOUND * np.linalg.norm(whole)


@pytest.mark.parametrize(("replicas", "stage"), [(1, 1), pytest.param(2, 3, marks=pytest.mark.nightly)])
def test_the_critics_head_is_float32_in_a_bfloat16_run(replicas: int, stage: int) -> None:
    """Values near 1 in bfloat16, or by weights that are rounded to it, would be off by 0.002 and more."""
    with inspected(replicas, "bfloat16", zeroStage=stage) as on_all:
        on_all("gradient", step_batch(1, 32, 4))
        assert max(on_all("head_error", step_batch(2, 32, 4))) < 1e-6
