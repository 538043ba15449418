"""What happens to machines happens here to real Pods, in the middle of a probe: it ends as if nothing had."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chart.helm import newer_chart
from cluster.daemons import wait_until
from cluster.kubectl import Kubectl
from node_lab import NodeRun, install, small_spec
from runs import assert_each_once

from limr.plan import Phase

pytestmark = [pytest.mark.timeout(1200)]

PROBE = "probe"
EPOCHS = 5
START_SECONDS = 240
RUN_SECONDS = 600
OUTAGE_SECONDS = 60
CHECKPOINT_STEPS = 5

KILL_AN_ENGINE = """
import os, pathlib, signal
pids = [int(folder.name) for folder in pathlib.Path("/proc").glob("[0-9]*")
        if (folder / "cmdline").read_bytes().startswith(b"ray::_Host")]
os.kill(pids[0], signal.SIGKILL)
"""


def spec() -> dict[str, Any]:
    """The small experiment of the integration tests, but for all that comes after its probe."""
    return small_spec(
        probe={"epochs": EPOCHS},
        checkpoint={"everySteps": CHECKPOINT_STEPS},
        arms=[{"name": "full", "reuseProbe": True}],
        evaluation={},
        limits={"attempts": 3},
    )


@pytest.fixture
def run(installed: Kubectl, strict_namespace: str) -> Iterator[NodeRun]:
    """The small experiment, begun."""
    run = NodeRun(installed, strict_namespace, f"small-{secrets.token_hex(3)}")
    run.apply(spec())
    yield run
    run.delete()


@pytest.fixture(scope="module")
def expected(installed: Kubectl, strict_namespace: str) -> pa.Table:
    """The trajectories of a run that nobody disturbed."""
    run = NodeRun(installed, strict_namespace, "undisturbed")
    run.apply(spec())
    status = run.finish(RUN_SECONDS)
    assert status.stages[PROBE].attempt == 1
    rows = run.rows(PROBE)
    run.delete()
    return rows


def assert_unchanged(run: NodeRun, expected: pa.Table) -> None:
    rows = run.rows(PROBE)
    assert_each_once(rows)
    assert rows.equals(expected)


def remove(kubectl: Kubectl, run: NodeRun, role: str, *options: str) -> None:
    (pod,) = run.pods(role)
    kubectl("delete", "pod", pod, "-n", run.namespace, "--wait=false", *options)


def lose_the_head(kubectl: Kubectl, run: NodeRun) -> None:
    remove(kubectl, run, "driver", "--grace-period=0", "--force")


def lose_a_worker(kubectl: Kubectl, run: NodeRun) -> None:
    remove(kubectl, run, "learner", "--grace-period=0", "--force")


def kill_an_engine(kubectl: Kubectl, run: NodeRun) -> None:
    (pod,) = run.pods("rollout")
    kubectl("exec", pod, "-n", run.namespace, "--", "python", "-c", KILL_AN_ENGINE)


def stop_the_store(kubectl: Kubectl, run: NodeRun) -> None:
    kubectl("scale", "deployment/s3", "-n", "s3", "--replicas=0")
    time.sleep(OUTAGE_SECONDS)
    kubectl("scale", "deployment/s3", "-n", "s3", "--replicas=1")
    kubectl("rollout", "status", "deployment/s3", "-n", "s3", "--timeout=60s")


@pytest.mark.parametrize("disturb", [lose_the_head, lose_a_worker, kill_an_engine, stop_the_store])
def test_a_loss_costs_one_attempt_at_most(
    disturb: Callable[[Kubectl, NodeRun], None], run: NodeRun, expected: pa.Table, installed: Kubectl
) -> None:
    run.at_step(PROBE, CHECKPOINT_STEPS + 2, START_SECONDS)
    disturb(installed, run)
    status = run.finish(RUN_SECONDS)
    print({name: (stage.attempt, stage.charged_attempts) for name, stage in status.stages.items()})
    assert sum(stage.charged_attempts for stage in status.stages.values()) <= 1
    assert_unchanged(run, expected)


def resumed_at_the_next_step(run: NodeRun) -> bool:
    """Whether the second attempt did exactly what the first had not."""
    attempts = [record.attempt for record in run.manifest(PROBE).steps]
    return attempts == sorted(attempts) and set(attempts) == {1, 2}


def test_suspended_and_resumed(run: NodeRun, expected: pa.Table) -> None:
    run.at_step(PROBE, CHECKPOINT_STEPS + 2, START_SECONDS)
    run.suspend(True)
    status = run.wait(lambda status: status.phase is Phase.SUSPENDED, START_SECONDS)
    manifest, said = run.manifest(PROBE), status.stages[PROBE].progress
    assert said is not None
    assert manifest.last_step == said.checkpoint_step == said.step > CHECKPOINT_STEPS, (manifest.steps, said)
    wait_until(lambda: not run.pods(), "the end of its Pods", START_SECONDS, poll=1)
    run.suspend(False)
    status = run.finish(RUN_SECONDS)
    assert (status.stages[PROBE].attempt, status.stages[PROBE].charged_attempts) == (2, 0)
    first = next(record.step for record in run.manifest(PROBE).steps if record.attempt == 2)
    assert first == manifest.last_step + 1
    assert resumed_at_the_next_step(run)
    assert_unchanged(run, expected)


def test_a_preempted_worker_leaves_after_a_checkpoint(run: NodeRun, expected: pa.Table, installed: Kubectl) -> None:
    run.at_step(PROBE, CHECKPOINT_STEPS + 2, START_SECONDS)
    remove(installed, run, "rollout")  # politely: SIGTERM and the grace period, as from a drained machine
    status = run.finish(RUN_SECONDS)
    assert (status.stages[PROBE].attempt, status.stages[PROBE].charged_attempts) == (2, 0)
    assert resumed_at_the_next_step(run)
    assert_unchanged(run, expected)


def test_an_upgrade_with_a_new_crd_leaves_a_running_experiment_alone(
    run: NodeRun, expected: pa.Table, installed: Kubectl, tmp_path: Path
) -> None:
    run.at_step(PROBE, 2, START_SECONDS)
    install(installed, "--set=logging.level=DEBUG", chart=newer_chart(tmp_path))  # other operators, too
    wait_until(lambda: "NEWS" in installed("get", "limr", "-n", run.namespace), "the new column", 30)
    status = run.finish(RUN_SECONDS)
    assert {stage.attempt for stage in status.stages.values()} == {1}
    assert_unchanged(run, expected)
    install(installed)
