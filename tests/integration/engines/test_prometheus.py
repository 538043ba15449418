"""A real Prometheus scrapes a real operator and a real run: whatever is documented, drawn or alerted on has data."""

from __future__ import annotations

import copy
import json
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.daemons import Daemon, answers, free_ports, wait_for_server, wait_until
from cluster.packages import program
from fake_kuberay import Script, succeed
from operator_lab import EXPERIMENT, Lab
from runs import Run
from servers.prometheus import Prometheus, scraping
from watched import History, assert_every_metric_has_data, blind_alerts, empty_panels, faults

from limr.plan import Phase, StageState, Status
from limr.stage import StageInput, StageKind, StageResult
from limr_operator import names

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

SECONDS = 300.0
MANY = 200
RECORDED_STEP = Path(__file__).parents[2] / "recorded_step.json"


class Operator:
    """One replica that works for some namespaces and leads, with its page of metrics."""

    def __init__(self, plane: ControlPlane, folder: Path, *namespaces: str) -> None:
        (self.port,) = free_ports(1)
        command = [program("env"), f"KUBECONFIG={plane.kubeconfig}", sys.executable, "-m", "limr_operator"]
        command += ["--trainer-image", "limr.test/trainer:dev", "--port", str(self.port), "--lease", "limr-test"]
        command += ["--own-namespace", namespaces[0], *(f"--namespace={name}" for name in namespaces)]
        self._daemon = Daemon("operator", command, folder / "operator.log")

    def __enter__(self) -> Operator:
        self._daemon.__enter__()
        url = f"http://127.0.0.1:{self.port}/readyz"
        wait_for_server(self._daemon, lambda: answers(url), SECONDS)
        return self

    def __exit__(self, *error: Any) -> None:
        self._daemon.__exit__(*error)

    def page(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    def series(self) -> set[str]:
        """Names with labels."""
        return {line.rpartition(" ")[0] for line in self.page().splitlines() if not line.startswith("#")}


def new_lab(plane: ControlPlane, script: Script = succeed) -> Lab:
    return Lab(plane, f"metrics-{secrets.token_hex(4)}", script)


def at_work(stage_input: StageInput, step: int) -> StageResult | None:
    """No stage but the first ends."""
    return succeed(stage_input, step) if stage_input.stage.kind is StageKind.PREFLIGHT else None


@dataclass(frozen=True)
class Watched:
    history: History
    stage_page: bytes
    run: Run


@pytest.fixture(scope="module")
def watched(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Three experiments on the API server, one done, one at work, one that waits; and a whole run on this machine."""
    folder = tmp_path_factory.mktemp("prometheus")
    done, working, waiting = new_lab(plane), new_lab(plane, at_work), new_lab(plane)
    (stage_port,) = free_ports(1)
    run = Run(folder / "run")
    with (
        Operator(plane, folder, done.namespace, working.namespace, waiting.namespace) as operator,
        Prometheus(folder, scraping({"operator": operator.port, "stage": stage_port})) as prometheus,
        ThreadPoolExecutor(max_workers=1) as beside,
    ):
        began = time.time()
        process = run.start("--metrics-port", str(stage_port), "--set", "spec.probe.epochs=1")
        page = beside.submit(page_with_a_step, stage_port, process)
        for lab in (done, working, waiting):
            lab.apply(limits={"deviceHours": 100})
        wait_until(lambda: moved(done).phase is Phase.COMPLETE, "the end of one", SECONDS)
        wait_until(lambda: probe(moved(working)) is StageState.RUNNING, "the work of another", SECONDS)
        wait_until(lambda: probe(waiting.status()) is not None, "the third", SECONDS)
        run.finish(process)
        for job in ("operator", "stage"):  # two minutes of it: rates need more than one scrape
            assert prometheus.range(f'scrape_samples_scraped{{job="{job}"}} > 0', began, time.time()), job
        yield Watched(lambda expression: prometheus.range(expression, began, time.time()), page.result(), run)


@pytest.fixture
def history(watched: Watched) -> History:
    return watched.history


def page_with_a_step(port: int, process: subprocess.Popen[bytes]) -> bytes:
    """Of the first stage that has made one; empty when the process ends without."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                page: bytes = answer.read()
        except OSError:  # no stage is at work
            page = b""
        if b"limr_reward_mean{" in page:
            return page
        time.sleep(0.2)
    return b""


def moved(lab: Lab) -> Status:
    """The status after KubeRay's part."""
    lab.kuberay.move()
    return lab.status()


def probe(status: Status) -> StageState | None:
    return status.stages["probe"].state if "probe" in status.stages else None


def test_every_documented_metric_has_data(history: History) -> None:
    assert_every_metric_has_data(history)


def test_every_alert_looks_at_something(history: History) -> None:
    assert blind_alerts(history) == []


def test_every_panel_shows_something(history: History) -> None:
    assert empty_panels(history) == []


def test_nothing_is_left_of_two_hundred_experiments(plane: ControlPlane, tmp_path: Path) -> None:
    lab = new_lab(plane)
    with Operator(plane, tmp_path, lab.namespace) as operator:
        lab.apply()
        wait_until(lambda: 'state="Queued"' in operator.page(), "the first, which then stays as it is", SECONDS)
        before = operator.series()
        for number in range(MANY):
            manifest = copy.deepcopy(EXPERIMENT)
            manifest["metadata"] = {"name": f"e{number}", "namespace": lab.namespace}
            lab.api.apply(manifest)
        running = f'limr_experiments{{phase="Running"}} {MANY + 1}.0'
        wait_until(lambda: running in operator.page(), "all of them", SECONDS, poll=1.0)
        assert len(operator.series()) > len(before) + MANY
        for found in lab.api.list(names.KIND, lab.namespace):
            if found["metadata"]["name"] != lab.name:
                lab.api.delete(names.KIND, lab.namespace, found["metadata"]["name"], found["metadata"]["uid"])
        wait_until(lambda: operator.series() == before, "nothing to be left", SECONDS, poll=1.0)


def test_the_recorded_step_has_what_steps_have(watched: Watched) -> None:
    """Which the unit tests take for a real one."""
    recorded = json.loads(RECORDED_STEP.read_text()).keys()
    assert {name for step in watched.run.manifest("probe").steps for name in step.metrics} <= recorded


def test_promtool_finds_no_fault_in_the_page_of_a_stage(watched: Watched) -> None:
    assert watched.stage_page, "no stage made a step"
    assert faults(watched.stage_page) == ""


def test_promtool_finds_no_fault_in_the_page_of_the_operator(plane: ControlPlane, tmp_path: Path) -> None:
    lab = new_lab(plane)
    with Operator(plane, tmp_path, lab.namespace) as operator:
        lab.apply()
        wait_until(lambda: "limr_stage_state" in operator.page(), "the experiment", SECONDS)
        page = operator.page()
    assert faults(page.encode()) == ""
