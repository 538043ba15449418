"""A guard ends a run on the node, which goes on when the guard is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cluster.daemons import wait_until
from cluster.kubectl import Kubectl
from node_lab import NodeRun, small_spec
from runs import assert_each_once

from limr.plan import Phase

pytestmark = [pytest.mark.timeout(1200)]

RUN_SECONDS = 600
GONE_SECONDS = 120
STEPS = 2
TIGHT = {"kl": {"above": 1e-6, "steps": STEPS}}
WIDE = {"spec": {"guards": {"kl": {"above": 1000}}}}


@pytest.fixture
def run(installed: Kubectl) -> Iterator[NodeRun]:
    run = NodeRun(installed, "default", "guarded")
    run.apply(
        small_spec(
            arms=[{"name": "full", "reuseProbe": True}], evaluation={}, checkpoint={"everySteps": 1}, guards=TIGHT
        )
    )
    yield run
    run.delete()


def test_it_suspends_the_experiment_until_it_is_changed(run: NodeRun, installed: Kubectl) -> None:
    status = run.wait(lambda status: status.phase is Phase.SUSPENDED, RUN_SECONDS)
    guarded = status.condition("Guarded")
    assert guarded is not None
    assert guarded.reason == "KLAboveBound"
    tripped = status.stages["probe"].progress
    assert tripped is not None
    good = tripped.checkpoint_step or 0
    assert good == tripped.step - STEPS
    wait_until(lambda: run.pods("driver") == [], "no Pod", GONE_SECONDS)
    installed("patch", "limr", run.name, "--type=merge", "-p", json.dumps(WIDE))
    ended = run.finish(RUN_SECONDS)
    assert (ended.stages["probe"].attempt, ended.charged_attempts) == (2, 0)
    assert_each_once(run.rows("probe"))
    manifest = run.manifest("probe")
    assert [step.attempt for step in manifest.steps] == [1] * good + [2] * (manifest.last_step - good)
