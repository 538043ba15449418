"""A real Prometheus scrapes a real operator and a real run: whatever is documented, drawn or alerted on has data."""

from __future__ import annotations

import copy
import secrets
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chart import monitoring
from cluster.control_plane import ControlPlane
from cluster.daemons import Daemon, answers, free_ports, wait_for_server, wait_until
from cluster.packages import program
from command import output_of
from fake_kuberay import Script, succeed
from operator_lab import EXPERIMENT, Lab
from runs import Run
from servers.prometheus import Prometheus

from limr import metrics as stage_metrics
from limr.exposition import Metric, Type
from limr.metrics import INFO
from limr.plan import Phase, StageState, Status
from limr_operator import metrics as operator_metrics
from limr_operator import names

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

SECONDS = 300.0
MANY = 200
# What Grafana fills in.
VARIABLES = {"$namespace": ".*", "$experiment": ".*", "$__rate_interval": "30s"}

History = Callable[[str], list[Any]]  # expression -> the series that it had while everything ran


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


@pytest.fixture(scope="module")
def history(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Three experiments on the API server, one done, one at work, one that waits; and a whole run on this machine."""
    folder = tmp_path_factory.mktemp("prometheus")
    done, working, waiting = new_lab(plane), new_lab(plane, lambda stage_input, step: None), new_lab(plane)
    (stage_port,) = free_ports(1)
    run = Run(folder / "run")
    with (
        Operator(plane, folder, done.namespace, working.namespace, waiting.namespace) as operator,
        Prometheus(folder, {"operator": operator.port, "stage": stage_port}) as prometheus,
    ):
        began = time.time()
        process = run.start("--metrics-port", str(stage_port), "--set", "spec.probe.epochs=1")
        for lab in (done, working, waiting):
            lab.apply(limits={"deviceHours": 100})
        wait_until(lambda: moved(done).phase is Phase.COMPLETE, "the end of one", SECONDS)
        wait_until(lambda: probe(moved(working)) is StageState.RUNNING, "the work of another", SECONDS)
        wait_until(lambda: probe(waiting.status()) is not None, "the third", SECONDS)
        run.finish(process)
        for job in ("operator", "stage"):  # two minutes of it: rates need more than one scrape
            assert prometheus.range(f'scrape_samples_scraped{{job="{job}"}} > 0', began, time.time()), job
        yield lambda expression: prometheus.range(expression, began, time.time())


def moved(lab: Lab) -> Status:
    """The status after KubeRay's part."""
    lab.kuberay.move()
    return lab.status()


def probe(status: Status) -> StageState | None:
    return status.stages["probe"].state if "probe" in status.stages else None


def counted(metric: Metric) -> str:
    return f"{metric.name}_count" if metric.type is Type.HISTOGRAM else metric.name


def test_every_documented_metric_has_data(history: History) -> None:
    metrics = [*operator_metrics.METRICS, *stage_metrics.METRICS]
    found = {metric.name: history(counted(metric)) for metric in metrics}
    assert [name for name, series in found.items() if not series] == []
    for metric in metrics:
        assert all(set(metric.labels) <= series["metric"].keys() for series in found[metric.name] if metric is not INFO)


def test_every_alert_looks_at_something(history: History) -> None:
    blind = [alert["alert"] for alert in monitoring.alerts() if not history(monitoring.uncompared(alert["expr"]))]
    assert blind == []


def test_every_panel_shows_something(history: History) -> None:
    empty = [
        f"{name}: {panel['title']}: {target['expr']}"
        for name, dashboard in monitoring.dashboards().items()
        for panel in monitoring.panels(dashboard)
        for target in panel.get("targets", ())
        if not history(monitoring.uncompared(filled(target["expr"])))
    ]
    assert empty == []


def filled(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


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


def test_promtool_finds_no_fault_in_the_page(plane: ControlPlane, tmp_path: Path) -> None:
    lab = new_lab(plane)
    with Operator(plane, tmp_path, lab.namespace) as operator:
        lab.apply()
        wait_until(lambda: "limr_stage_state" in operator.page(), "the experiment", SECONDS)
        (tmp_path / "page").write_text(operator.page())
    with (tmp_path / "page").open("rb") as page:
        assert output_of([program("promtool"), "check", "metrics"], seconds=SECONDS, stdin=page) == ""
