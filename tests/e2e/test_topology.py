"""Ranks in one Pod and ranks in Pods of their own learn the same, on the test node."""

from __future__ import annotations

import pytest
from cluster.kubectl import Kubectl
from node_lab import PLACES, NodeRun, small_spec

pytestmark = [pytest.mark.timeout(1800)]

RUN_SECONDS = 700
LOSSES = ("policy_loss", "value_loss", "kl", "entropy", "return_mean")


def losses(kubectl: Kubectl, namespace: str, pods: int, processes: int) -> list[list[float]]:
    """Of each step of a probe whose learners are so many Pods of so many ranks."""
    run = NodeRun(kubectl, namespace, f"ranks-{pods}x{processes}")
    learner = {**PLACES["learner"], "replicas": pods, "processes": processes, "memoryGib": 4 * processes}
    run.apply(
        small_spec(
            cluster={**PLACES, "learner": learner},
            arms=[{"name": "full", "reuseProbe": True}],
            evaluation={},
        )
    )
    run.at_step("probe", 2, RUN_SECONDS)
    assert len(run.pods("learner")) == pods
    run.finish(RUN_SECONDS)
    found = [[step.metrics[name] for name in LOSSES] for step in run.manifest("probe").steps]
    run.delete()
    return found


def test_ranks_of_one_pod_learn_what_those_of_two_pods_learn(installed: Kubectl, strict_namespace: str) -> None:
    one = losses(installed, strict_namespace, pods=1, processes=2)
    two = losses(installed, strict_namespace, pods=2, processes=1)
    assert len(one) == len(two) > 2
    for first, second in zip(one, two, strict=True):
        assert second == pytest.approx(first, rel=1e-5, abs=1e-5)
