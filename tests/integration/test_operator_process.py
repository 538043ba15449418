"""The operator as it runs in its Pod: kopf's watches, two replicas, kills and pauses, on a real API server."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.daemons import answers, free_ports
from fake_kuberay import succeed
from operator_lab import STAGES, Lab

from limr.plan import Phase, StageState, Status
from limr.stage import StageInput, StageResult
from limr_operator import names

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SECONDS = 120.0
TAKEOVER_SECONDS = 20.0
KILLS = 20


class Process:
    """One replica, which ends with the test."""

    def __init__(self, plane: ControlPlane, log: Path, identity: str, namespace: str) -> None:
        (self.port,) = free_ports(1)
        self.identity = identity
        command = [sys.executable, "-m", "limr_operator", "--trainer-image", "limr.test/trainer:dev"]
        command += ["--identity", identity, "--port", str(self.port), "--lease", "limr-test"]
        command += ["--namespace", namespace, "--own-namespace", namespace]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
            )

    def answers(self, path: str) -> bool:
        return answers(f"http://127.0.0.1:{self.port}{path}")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def wait_for(what: Callable[[], bool], seconds: float = SECONDS) -> float:
    """How long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.1)
    return time.monotonic() - began


def run(lab: Lab, until: Callable[[Status], bool], seconds: float = SECONDS) -> Status:
    """Lets KubeRay's part move while the operator does its own."""
    deadline = time.monotonic() + seconds
    while not until(status := lab.status()):
        assert time.monotonic() < deadline, status.to_json()
        lab.kuberay.move()
        time.sleep(0.05)
    return status


def complete(status: Status) -> bool:
    return status.phase in (Phase.COMPLETE, Phase.FAILED)


def holder(lab: Lab) -> str:
    leases = lab.api.list("Lease", lab.namespace)
    return leases[0]["spec"]["holderIdentity"] if leases else ""


def test_a_whole_experiment(plane: ControlPlane, tmp_path: Path) -> None:
    def once_seen(stage_input: StageInput, step: int) -> StageResult | None:
        """A stage ends after the operator has seen it at work, however slow the operator is."""
        running = lab.status().stages[stage_input.stage.name].state is StageState.RUNNING
        return succeed(stage_input, step) if running else None

    lab = Lab(plane, f"test-{secrets.token_hex(4)}", once_seen)
    with Process(plane, tmp_path / "log", "one", lab.namespace) as operator:
        wait_for(lambda: operator.answers("/readyz"))
        lab.apply()
        status = run(lab, complete)
        assert status.phase is Phase.COMPLETE
        assert operator.answers("/healthz")
        operator.process.send_signal(signal.SIGTERM)
        assert operator.process.wait(30) == 0
    assert holder(lab) == ""  # released, so that another replica need not wait
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["message"] for line in told} >= {"one leads", "StageRunning: probe, attempt 1"}
    for line in told:
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
        assert {"level", "logger", "message"} <= line.keys()
        if line["logger"] in ("limr_operator.announce", "limr_operator.reconcile"):
            assert (line["namespace"], line["experiment"]) == (lab.namespace, "demo")
    begun = {(line["stage"], line["attempt"]) for line in told if line.get("reason") == "StageStarting"}
    assert begun == {(stage, 1) for stage in STAGES}


def test_stages_that_share_a_cluster(plane: ControlPlane, lab: Lab, tmp_path: Path) -> None:
    with Process(plane, tmp_path / "log", "one", lab.namespace):
        lab.apply(schedule={"reuseCluster": True})
        status = run(lab, complete)
        assert status.phase is Phase.COMPLETE
        assert {stage.attempt for stage in status.stages.values()} == {1}
        training = lab.api.get("RayJob", lab.namespace, "demo--train-lim-s1-1")
        assert training["spec"]["clusterSelector"] == {names.RAY_CLUSTER: "demo--probe-1"}
        wait_for(lambda: not lab.api.list("RayCluster", lab.namespace))


def test_a_finished_experiment_is_deleted_after_its_time_with_all_that_it_owns(
    plane: ControlPlane, lab: Lab, tmp_path: Path
) -> None:
    lab.apply(ttlSecondsAfterFinished=1)
    with Process(plane, tmp_path / "log", "one", lab.namespace):
        deadline = time.monotonic() + SECONDS
        while lab.api.list(names.KIND, lab.namespace):
            assert time.monotonic() < deadline
            lab.kuberay.move()
            time.sleep(0.05)
        wait_for(lambda: not lab.objects())


def test_killed_again_and_again(plane: ControlPlane, lab: Lab, tmp_path: Path) -> None:
    chance = random.Random(1)
    lab.apply()
    kills = 0
    while not complete(lab.status()):
        with Process(plane, tmp_path / "log", f"life-{kills}", lab.namespace) as operator:
            wait_for(lambda process=operator: holder(lab) == process.identity)  # type: ignore[misc]
            end = time.monotonic() + (chance.uniform(0, 1.0) if kills < KILLS else SECONDS)
            while time.monotonic() < end and not complete(lab.status()):
                time.sleep(0.02)
                if chance.random() < 0.3:  # slow stages, so that every life sees some of the run
                    lab.kuberay.move()
            release(lab)
        kills += 1
    status = lab.status()
    assert status.phase is Phase.COMPLETE
    assert {stage.attempt for stage in status.stages.values()} == {1}
    assert {stage.state for stage in status.stages.values()} == {StageState.SUCCEEDED}


def release(lab: Lab) -> None:
    """As if the killed holder's time were over: waiting for it twenty times would take minutes."""
    for lease in lab.api.list("Lease", lab.namespace):
        lease["spec"]["holderIdentity"] = ""
        lab.api.replace({**lease, "kind": "Lease", "apiVersion": "coordination.k8s.io/v1"})


def test_a_paused_leader_is_followed_and_writes_no_more(plane: ControlPlane, lab: Lab, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(Process(plane, tmp_path / "first", "first", lab.namespace))
        wait_for(lambda: holder(lab) == "first")
        second = stack.enter_context(Process(plane, tmp_path / "second", "second", lab.namespace))
        wait_for(lambda: second.answers("/readyz"))
        lab.apply()
        run(lab, lambda status: status.stages.get("probe") is not None and status.stages["probe"].progress is not None)
        first.process.send_signal(signal.SIGSTOP)
        lab.kuberay.move()  # something to do, which the paused one knows nothing of
        assert wait_for(lambda: holder(lab) == "second") < TAKEOVER_SECONDS
        first.process.send_signal(signal.SIGCONT)
        status = run(lab, complete)
        assert status.phase is Phase.COMPLETE
        assert {stage.attempt for stage in status.stages.values()} == {1}
        assert holder(lab) == "second"
        assert first.process.poll() is None  # it follows
    words = (tmp_path / "first").read_text()
    assert "first follows" in words
    assert "StageSucceeded: report" not in words
