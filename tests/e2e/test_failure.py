"""What a person sees of an experiment that cannot succeed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.daemons import wait_until
from cluster.kubectl import Kubectl
from node_lab import FILES, NodeRun, small_spec, status_screen
from servers.prometheus import Prometheus

from limr.plan import Phase

pytestmark = [pytest.mark.timeout(600)]

RUN_SECONDS = 300
ALERT_SECONDS = 120


@pytest.fixture
def run(installed: Kubectl) -> Iterator[NodeRun]:
    run = NodeRun(installed, "default", "mistaken")
    run.apply(small_spec(dataset={"uri": f"{FILES}/dataset.json"}))
    yield run
    run.delete()


def test_its_status_and_an_alert_say_what_is_wrong(
    run: NodeRun, installed: Kubectl, prometheus: Prometheus, tmp_path: Path
) -> None:
    began = time.time()
    status = run.wait(lambda status: status.phase is Phase.FAILED, RUN_SECONDS)
    assert (status.stages["preflight"].reason, status.stages["probe"].attempt) == ("BadInput", 0)
    shown = status_screen(installed, run.name, tmp_path)
    assert shown[0].startswith("mistaken in default: Failed, ")
    assert shown[2] == "Accepted: BadInput"
    assert "dataset.json" in "".join(line.strip() for line in shown[3:5])
    assert "  → when the cause is mended: kubectl limr retry mistaken -n default" in shown
    alert = f'ALERTS{{alertstate="firing",alertname="LimrExperimentFailed",experiment="{run.name}"}}'
    wait_until(lambda: prometheus.range(alert, began, time.time()) != [], "the alert", ALERT_SECONDS, poll=2)
