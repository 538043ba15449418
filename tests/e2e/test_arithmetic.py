"""The whole thing: chart, operator, KubeRay, real engines, S3, on the test node (`make e2e`)."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import browser
import pytest
from cluster.kubectl import Kubectl
from node_lab import SYSTEM, NodeRun, limr, status_screen
from runs import assert_each_once
from watched import faults

from limr.plan import Status
from limr.stage import METRICS_PORT
from limr_operator import names

pytestmark = [pytest.mark.timeout(3600)]

STEP_SECONDS = 900
LATER_STAGES = ("select-lim", "select-random", "train-lim-s1", "train-random-s1", "evaluate", "report")
STAGES = ("preflight", "probe", *LATER_STAGES)


def test_a_log_is_the_output_of_the_pod_with_the_driver(arithmetic: NodeRun, installed: Kubectl) -> None:
    arithmetic.at_step("probe", 2, STEP_SECONDS)
    (pod,) = arithmetic.pods("driver")
    in_ray = "cat /tmp/ray/session_latest/logs/job-driver-*.log"
    lines = installed("exec", pod, "-c", "limr", "--", "bash", "-c", in_ray).splitlines()
    assert lines
    assert lines[-2] in limr(installed, "logs", "arithmetic", "probe", "--raw").splitlines()


def test_its_status_fits_a_terminal(arithmetic: NodeRun, installed: Kubectl, tmp_path: Path) -> None:
    arithmetic.at_step("probe", 8, STEP_SECONDS)
    shown = status_screen(installed, "arithmetic", tmp_path)
    assert re.fullmatch(r"arithmetic in default: Running, \S+ old, 0\.\d\d of 10 device-hours", shown[0])
    (probe,) = (index for index, line in enumerate(shown) if line.startswith("probe"))
    assert re.fullmatch(r"probe +Running +1 +\d+/48 +0\.\d{3} +[\d,]+ +\d+[hms]\w*", shown[probe])
    assert re.fullmatch(r"  █+░+ +\d+%  reward [▁-█]+ -?\d\.\d\d to \d\.\d\d", shown[probe + 1])
    assert [line.split() for line in shown[probe + 2 :]] == [[name, "Pending"] for name in LATER_STAGES]


def test_promtool_finds_no_fault_in_the_pages(arithmetic: NodeRun, installed: Kubectl) -> None:
    (head,) = addresses(installed, "default", f"{names.EXPERIMENT}={arithmetic.name},{names.ROLE}=driver")
    operators = addresses(installed, SYSTEM, "app.kubernetes.io/component=operator")
    assert len(operators) == 2
    for url in (f"http://{head}:{METRICS_PORT}/metrics", *(f"http://{address}:8080/metrics" for address in operators)):
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert faults(answer.read()) == ""


def addresses(kubectl: Kubectl, namespace: str, selector: str) -> list[str]:
    found = kubectl.get("pods", "-n", namespace, "-l", selector)["items"]
    return [pod["status"]["podIP"] for pod in found]


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


def test_the_bucket_has_every_step_once_and_the_report(finished: Status, arithmetic: NodeRun) -> None:
    for stage in ("probe", "train-lim-s1", "train-random-s1"):
        manifest = arithmetic.manifest(stage)
        assert manifest.finished
        assert [record.step for record in manifest.steps] == list(range(1, manifest.last_step + 1))
        assert_each_once(arithmetic.rows(stage))
    assert json.loads(arithmetic.store().get("report/results.json"))["table"]
    assert arithmetic.store().get("report/index.html").startswith(b"<!doctype html>")


def test_the_report_is_fetched_through_a_forwarded_port(
    finished: Status, arithmetic: NodeRun, installed: Kubectl, tmp_path: Path
) -> None:
    limr(installed, "report", "arithmetic", "--no-open", "--output", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == arithmetic.store().get("report/index.html")


def test_the_report_needs_no_network(finished: Status, installed: Kubectl, tmp_path: Path) -> None:
    limr(installed, "report", "arithmetic", "--no-open", "--output", tmp_path / "report.html")
    assert browser.requests(tmp_path / "report.html", tmp_path) == set()
    assert finished.best.split()[0] in browser.dom(tmp_path / "report.html", tmp_path)


def test_its_results_fit_a_terminal(finished: Status, installed: Kubectl, tmp_path: Path) -> None:
    shown = status_screen(installed, "arithmetic", tmp_path)
    assert re.fullmatch(r"arithmetic in default: Complete, \S+ old, 0\.\d\d of 10 device-hours", shown[0])
    assert all(re.match(rf"{name} +Succeeded +1", line) for name, line in zip(STAGES, shown[3:], strict=False))
    assert any(re.fullmatch(r"evaluate +Succeeded +1 +4/4", line) for line in shown)
    results = shown.index(next(line for line in shown if line.startswith("RESULTS")))
    assert [line.split()[0] for line in shown[results + 1 : -1]] == [row.name for row in finished.results]
    assert shown[-1] == "→ kubectl limr report arithmetic -n default"


def test_nothing_is_left_of_a_deleted_experiment(finished: Status, arithmetic: NodeRun) -> None:
    store = arithmetic.store()
    arithmetic.delete()
    assert store.get("report/index.html")  # what it stored stays
