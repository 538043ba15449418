"""Learners under DeepSpeed: the numbers do not depend on how the work is dealt out, and a restore is exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from engines import MODEL, ray_cluster, step_batch
from numpy.typing import NDArray

from limr.learner.group import LearnerGroup
from limr.learner.types import LearnerSettings
from limr.spec import PPO, LearnerPods
from limr.topology import DeviceKind
from limr.topology import learners as learner_workers

pytestmark = pytest.mark.integration

STEPS = 3
TEXT = list(range(10, 40))


@pytest.fixture(scope="module", autouse=True)
def ray_running() -> Iterator[None]:
    with ray_cluster():
        yield


def learners(pods: int, store: str = "unused", processes: int = 1, **settings: object) -> LearnerGroup:
    ppo = PPO.model_validate(
        {
            "promptsPerStep": 8,
            "samplesPerPrompt": 4,
            "trainBatchSize": 16,
            "temperature": 1.0,
            "actorLearningRate": 1e-4,
            "criticLearningRate": 1e-3,
            "warmupUpdates": 0,
            "zeroStage": 1,
            "gradientCheckpointing": False,
            **settings,
        }
    )
    group = LearnerGroup(
        learner_workers(LearnerPods(replicas=pods, gpus=0, processes=processes), DeviceKind.CPU),
        LearnerSettings(
            model=str(MODEL),
            revision=None,
            root=store,
            endpoint=None,
            dtype="float32",
            ppo=ppo,
            seed=1,
            total_updates=100,
            deadline_seconds=300,
        ),
        wait_seconds=300,
    )
    group.start()
    return group


def trained(group: LearnerGroup, steps: range) -> list[dict[str, float]]:
    return [group.measure(step_batch(step, 32, 4)).metrics | group.update() for step in steps]


def says(group: LearnerGroup) -> NDArray[np.float32]:
    return group.publish(0, TEXT)[1].logprobs


@pytest.fixture(scope="module")
def reference() -> tuple[list[dict[str, float]], NDArray[np.float32]]:
    """One learner, micro-batches of 4, padded."""
    with closing(learners(1, microBatchSize=4, packing=False)) as group:
        return trained(group, range(1, STEPS + 1)), says(group)


@pytest.mark.parametrize(
    ("pods", "settings"),
    [
        (1, {"microBatchSize": 16, "packing": False}),
        (1, {"microBatchSize": 4, "packing": True}),
        (2, {"microBatchSize": 4, "packing": False, "zeroStage": 2}),
        (1, {"microBatchSize": 16, "packing": True, "zeroStage": 3, "gradientCheckpointing": True, "processes": 2}),
    ],
    ids=["micro-16", "packed", "two-pods-zero-2", "one-pod-with-two-ranks-zero-3-packed"],
)
def test_losses_do_not_depend_on_how_the_work_is_dealt_out(
    reference: tuple[list[dict[str, float]], NDArray[np.float32]], pods: int, settings: dict[str, object]
) -> None:
    expected, expected_answer = reference
    with closing(learners(pods, **settings)) as group:
        metrics, answer = trained(group, range(1, STEPS + 1)), says(group)
    for want, got in zip(expected, metrics, strict=True):
        assert got.keys() == want.keys()
        for name in ("policy_loss", "value_loss", "kl", "entropy", "logprob_gap_mean", "return_mean"):
            assert got[name] == pytest.approx(want[name], rel=1e-5, abs=1e-5), name
    assert np.abs(answer - expected_answer).max() < 1e-4


def test_a_restore_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    settings = {"store": str(tmp_path / "store"), "microBatchSize": 16, "packing": False}
    with closing(learners(1, **settings)) as group:
        trained(group, range(1, 2))
        records = group.save(tmp_path / "scratch", "checkpoint")
        expected = trained(group, range(2, 4))
        weights = group.export(tmp_path / "scratch", "expected")
    with closing(learners(1, **settings)) as group:
        assert group.fetch(tmp_path / "restored", "checkpoint", records)
        group.restore(tmp_path / "restored")
        assert trained(group, range(2, 4)) == expected
        assert group.export(tmp_path / "scratch", "again") == weights
    assert "model.safetensors" in [record.path for record in weights]


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_group_methods_raise_what_was_rewarded(algorithm: str) -> None:
    settings = {"algorithm": algorithm, "microBatchSize": 16, "packing": False, "klCoefficient": 0.0}
    with closing(learners(1, **settings)) as group:
        for metrics in trained(group, range(1, STEPS + 1)):
            assert np.isfinite(metrics["policy_loss"])
            assert "value_loss" not in metrics
