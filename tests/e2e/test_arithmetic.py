"""The whole thing: chart, operator, KubeRay, real engines, S3, on the test node (`make e2e`)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.kubectl import Kubectl
from cluster.kubernetes_module import kubernetes_program
from command import output_of
from node_lab import NodeRun
from runs import assert_each_once

from limr.plan import Status

pytestmark = [pytest.mark.timeout(3600)]

EXAMPLE = Path(__file__).parents[2] / "examples/arithmetic"
RUN_SECONDS = 2400


@pytest.fixture(scope="module")
def run(installed: Kubectl) -> Iterator[NodeRun]:
    """The arithmetic example, once it was applied."""
    run = NodeRun(installed, "default", "arithmetic")
    installed("apply", "-k", EXAMPLE)
    yield run
    installed("delete", "limr", "arithmetic", "--ignore-not-found")


def limr(kubectl: Kubectl, *words: str | Path) -> str:
    """What `kubectl limr` prints, without credentials of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    path = f"{kubernetes_program('kubectl').parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    kubeconfig = f"--kubeconfig={kubectl.kubeconfig}"
    command = [kubernetes_program("kubectl"), "limr", *words, kubeconfig]
    return output_of(command, seconds=120, env={**kept, "PATH": path})


def test_a_log_is_the_output_of_the_pod_with_the_driver(run: NodeRun, installed: Kubectl) -> None:
    run.at_step("probe", 2, RUN_SECONDS)
    (pod,) = run.pods("driver")
    in_ray = "cat /tmp/ray/session_latest/logs/job-driver-*.log"
    lines = installed("exec", pod, "-c", "limr", "--", "bash", "-c", in_ray).splitlines()
    assert lines
    assert lines[-2] in limr(installed, "logs", "arithmetic", "probe").splitlines()


@pytest.fixture(scope="module")
def finished(run: NodeRun) -> Status:
    return run.finish(RUN_SECONDS)


def test_it_completes_with_a_table_of_results(finished: Status) -> None:
    assert {stage.attempt for stage in finished.stages.values()} == {1}
    results = {row.name: row.benchmarks["sums"] for row in finished.results}
    assert results.keys() >= {"base", "lim", "random", "full"}
    for interval in results.values():
        assert interval.low <= interval.mean <= interval.high
    assert results["full"].mean > results["base"].mean
    assert finished.selected
    assert finished.best
    assert finished.spent


def test_the_bucket_has_every_step_once_and_the_report(finished: Status, run: NodeRun) -> None:
    for stage in ("probe", "train-lim-s1", "train-random-s1"):
        manifest = run.manifest(stage)
        assert manifest.finished
        assert [record.step for record in manifest.steps] == list(range(1, manifest.last_step + 1))
        assert_each_once(run.rows(stage))
    assert json.loads(run.store().get("report/results.json"))["table"]
    assert run.store().get("report/index.html").startswith(b"<!doctype html>")


def test_the_report_is_fetched_through_a_forwarded_port(
    finished: Status, run: NodeRun, installed: Kubectl, tmp_path: Path
) -> None:
    limr(installed, "report", "arithmetic", "--no-open", "--output", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == run.store().get("report/index.html")


def test_nothing_is_left_of_a_deleted_experiment(finished: Status, run: NodeRun) -> None:
    store = run.store()
    run.delete()
    assert store.get("report/index.html")  # what it stored stays
