"""What a Ray cluster lacks of what the spec asks for."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from limr import capacity
from limr.capacity import ResourcesMissing, missing_pods
from limr.spec import LearnerPods, RolloutPods
from limr.stopping import StopRequested
from limr.topology import DeviceKind, engines, learners

LEARNERS = learners(LearnerPods(replicas=2, gpus=8), DeviceKind.CUDA)
ENGINES = engines(RolloutPods(replicas=1, gpus=4, tensor_parallel=2), DeviceKind.CUDA)
HEAD = {"CPU": 4.0}
LEARNER_POD = {"limr_learner": 8.0, "GPU": 8.0}
ROLLOUT_POD = {"limr_rollout": 2.0, "GPU": 4.0}


def go_on() -> None:
    """Nothing ends the wait."""


def nodes(*resources: dict[str, float], alive: bool = True) -> list[dict[str, Any]]:
    return [{"Resources": entry, "Alive": alive} for entry in resources]


def test_nothing_is_missing_from_a_cluster_that_is_complete() -> None:
    assert missing_pods([LEARNERS, ENGINES], [HEAD, LEARNER_POD, LEARNER_POD, ROLLOUT_POD]) == []


@pytest.mark.parametrize(
    ("present", "says"),
    [
        ([HEAD], ["2 learner Pods with 8 GPUs each; none are there", "1 rollout Pod with 4 GPUs each; none are there"]),
        ([LEARNER_POD, ROLLOUT_POD], ["2 learner Pods with 8 GPUs each; 1 is there"]),
        # A node whose driver is gone offers the group's resource and no GPU.
        ([LEARNER_POD, {"limr_learner": 8.0}, ROLLOUT_POD], ["2 learner Pods with 8 GPUs each; 1 is there"]),
    ],
)
def test_what_is_missing_is_counted(present: list[dict[str, float]], says: list[str]) -> None:
    assert missing_pods([LEARNERS, ENGINES], present) == says


def test_pods_without_gpus() -> None:
    groups = [learners(LearnerPods(replicas=2, gpus=0), DeviceKind.CPU)]
    assert missing_pods(groups, [{"limr_learner": 1.0}]) == ["2 learner Pods; 1 is there"]


def test_a_wait_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMR_PLACEMENT", "roles")
    monkeypatch.setattr(ray, "nodes", lambda: nodes(LEARNER_POD) + nodes(LEARNER_POD, alive=False))
    with pytest.raises(ResourcesMissing, match=r"^waited 0 s for 2 learner Pods with 8 GPUs each; 1 is there$"):
        capacity.wait_for([LEARNERS], 0, go_on)


def test_a_wait_goes_on_until_the_pods_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMR_PLACEMENT", "roles")
    monkeypatch.setattr(capacity, "POLL_SECONDS", 0.01)
    answers = iter([nodes(HEAD), nodes(HEAD, LEARNER_POD), nodes(HEAD, LEARNER_POD, LEARNER_POD)])
    monkeypatch.setattr(ray, "nodes", lambda: next(answers))
    capacity.wait_for([LEARNERS], 60, go_on)
    assert next(answers, None) is None


def test_a_stop_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMR_PLACEMENT", "roles")
    monkeypatch.setattr(ray, "nodes", lambda: nodes(HEAD))

    def stop() -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        capacity.wait_for([LEARNERS], 60, stop)


def test_a_machine_with_too_few_gpus_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMR_PLACEMENT", raising=False)
    monkeypatch.setattr(ray, "nodes", lambda: nodes({"CPU": 8.0, "GPU": 2.0}))
    with pytest.raises(ResourcesMissing, match="ask for 20 GPUs, and this machine has 2"):
        capacity.wait_for([LEARNERS, ENGINES], 60, go_on)
