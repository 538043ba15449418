"""What a cluster's spec means in learner ranks, engines and devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.spec import LearnerPods, RolloutPods
from limr.topology import DeviceKind, Workers, engines, learners, ranks


def counts(workers: Workers) -> tuple[int, int, int, int, int]:
    return workers.pods, workers.actors_per_pod, workers.devices_per_actor, workers.gpus_per_pod, workers.devices


@pytest.mark.parametrize(
    ("pods", "kind", "expected"),
    [
        (LearnerPods(replicas=2, gpus=8), DeviceKind.CUDA, (2, 8, 1, 8, 16)),
        (LearnerPods(replicas=2, gpus=8), DeviceKind.CPU, (2, 1, 1, 0, 2)),  # on a laptop
        (LearnerPods(replicas=1, gpus=0, processes=2), DeviceKind.CPU, (1, 2, 1, 0, 2)),
    ],
)
def test_a_learner_has_a_rank_on_each_device(pods: LearnerPods, kind: DeviceKind, expected: tuple[int, ...]) -> None:
    assert counts(learners(pods, kind)) == expected


@pytest.mark.parametrize(
    ("pods", "kind", "expected"),
    [
        (RolloutPods(replicas=2, gpus=8, tensor_parallel=2), DeviceKind.CUDA, (2, 4, 2, 8, 16)),
        (RolloutPods(replicas=3, gpus=8, tensor_parallel=8), DeviceKind.CUDA, (3, 1, 8, 8, 24)),
        (RolloutPods(replicas=2, gpus=8, tensor_parallel=8), DeviceKind.CPU, (2, 1, 1, 0, 2)),  # on a laptop
        (RolloutPods(gpus=0, processes=2, tensor_parallel=2), DeviceKind.CPU, (1, 1, 2, 0, 2)),
        (RolloutPods(gpus=0, processes=4, tensor_parallel=2), DeviceKind.CPU, (1, 2, 2, 0, 4)),
    ],
)
def test_an_engine_has_as_many_devices_as_tensor_parallel(
    pods: RolloutPods, kind: DeviceKind, expected: tuple[int, ...]
) -> None:
    assert counts(engines(pods, kind)) == expected


@given(replicas=st.integers(1, 9), engines_per_pod=st.integers(1, 4), parallel=st.integers(1, 4))
def test_what_is_reserved_is_used_and_charged(replicas: int, engines_per_pod: int, parallel: int) -> None:
    gpus = engines_per_pod * parallel
    pods = RolloutPods(replicas=replicas, gpus=gpus, tensor_parallel=parallel)
    workers = engines(pods, DeviceKind.CUDA)
    assert replicas * gpus == workers.actors * workers.devices_per_actor == workers.devices


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=32))
def test_ranks_of_one_machine_are_consecutive(machines: list[str]) -> None:
    placed = ranks(machines)
    assert sorted(rank.number for rank in placed) == list(range(len(machines)))
    for machine in set(machines):
        own = [rank for rank, where in zip(placed, machines, strict=True) if where == machine]
        assert [rank.local_number for rank in own] == list(range(len(own)))
        assert [rank.number - own[0].number for rank in own] == list(range(len(own)))
        assert {rank.local_total for rank in own} == {len(own)}
        assert {rank.total for rank in own} == {len(machines)}


def test_learners_of_one_machine_keep_their_order() -> None:
    """So that a run on one machine does not depend on how Ray names it."""
    assert [rank.number for rank in ranks(["a"] * 4)] == [0, 1, 2, 3]
    assert [rank.number for rank in ranks(["b", "a", "b", "a"])] == [0, 2, 1, 3]
