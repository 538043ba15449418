"""The stages of one experiment in one RayCluster, on the test node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.daemons import wait_until
from cluster.kubectl import Kubectl
from node_lab import NodeRun, small_spec
from runs import assert_each_once

from limr.plan import Phase, StageState, Status
from limr.plan.graph import ENGINE_KINDS

pytestmark = [pytest.mark.timeout(1200)]

RUN_SECONDS = 900
END_SECONDS = 240


@pytest.fixture
def run(installed: Kubectl, strict_namespace: str) -> Iterator[NodeRun]:
    run = NodeRun(installed, strict_namespace, "shared")
    run.apply(small_spec(schedule={"reuseCluster": True}))
    yield run
    run.delete()


def test_all_stages_run_in_the_same_pods(run: NodeRun) -> None:
    learners: dict[str, set[str]] = {}

    def note_learners(status: Status) -> bool:
        for name, stage in status.stages.items():
            if stage.kind in ENGINE_KINDS and stage.state is StageState.RUNNING:
                learners.setdefault(name, set()).update(run.pods("learner"))
        return status.phase is Phase.COMPLETE

    status = run.wait(note_learners, RUN_SECONDS)
    assert learners.keys() == {"probe", "train-rest-s1", "evaluate"}
    assert len(set.union(*learners.values())) == 1
    assert {stage.attempt for stage in status.stages.values()} == {1}
    for stage in ("probe", "train-rest-s1"):
        assert_each_once(run.rows(stage))
    wait_until(lambda: not run.pods("learner") + run.pods("rollout"), "the end of the cluster", END_SECONDS, poll=1)
