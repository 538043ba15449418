"""Learners under DeepSpeed: the numbers do not depend on how the work is dealt out, and a restore is exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from engines import ray_cluster
from learner_groups import learners, trained
from numpy.typing import NDArray

from limr.learner.group import LearnerGroup

pytestmark = pytest.mark.integration

STEPS = 3
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
    with closing(learners(1, microBatchSize=4, packing=False)) as group:
        return trained(group, range(1, STEPS + 1)), says(group)


@pytest.mark.parametrize(
    ("replicas", "settings"),
    [
        (1, {"microBatchSize": 16, "packing": False}),
        (1, {"microBatchSize": 4, "packing": True}),
        (2, {"microBatchSize": 4, "packing": False, "zeroStage": 2}),
        (2, {"microBatchSize": 16, "packing": True, "zeroStage": 3, "gradientCheckpointing": True}),
    ],
    ids=["micro-16", "packed", "two-learners-zero-2", "two-learners-zero-3-packed"],
)
def test_losses_do_not_depend_on_how_the_work_is_dealt_out(
    reference: tuple[list[dict[str, float]], NDArray[np.float32]], replicas: int, settings: dict[str, object]
) -> None:
    expected, expected_answer = reference
    with closing(learners(replicas, **settings)) as group:
        metrics, answer = trained(group, range(1, STEPS + 1)), says(group)
    for want, got in zip(expected, metrics, strict=True):
        assert got.keys() == want.keys()
        for name in ("policy_loss", "value_loss", "kl", "entropy", "logprob_gap_mean", "return_mean"):
            assert got[name] == pytest.approx(want[name], rel=1e-5, abs=1e-5), name
    assert np.abs(answer - expected_answer).max() < 1e-4


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_group_methods_raise_what_was_rewarded(algorithm: str) -> None:
    settings = {"algorithm": algorithm, "microBatchSize": 16, "packing": False, "klCoefficient": 0.0}
    with closing(learners(1, **settings)) as group:
        for metrics in trained(group, range(1, STEPS + 1)):
            assert np.isfinite(metrics["policy_loss"])
            assert "value_loss" not in metrics
