"""What a Prometheus has seen of the arithmetic example by the chart's monitors: all that is documented and drawn."""

from __future__ import annotations

from datetime import timedelta

import pytest
from servers.prometheus import Prometheus
from watched import History, assert_every_metric_has_data, blind_alerts, empty_panels

from limr.plan import Status
from limr.plan.graph import ENGINE_KINDS

pytestmark = [pytest.mark.timeout(3600)]

STEP_SECONDS = 5


@pytest.fixture(scope="module")
def history(finished: Status, prometheus: Prometheus) -> History:
    times = [stage.finished_at for stage in finished.stages.values() if stage.finished_at]
    began = min(stage.started_at for stage in finished.stages.values() if stage.started_at)
    ended = max(times) + timedelta(seconds=30)
    return lambda expression: prometheus.range(expression, began.timestamp(), ended.timestamp(), STEP_SECONDS)


def test_every_operator_and_every_head_was_scraped(history: History, finished: Status) -> None:
    assert len(history('up{namespace="limr-system",service="limr-metrics"} == 1')) == 2
    heads = {series["metric"]["limr_dev_stage"] for series in history('up{limr_dev_role="driver"} == 1')}
    assert heads == {name for name, stage in finished.stages.items() if stage.kind in ENGINE_KINDS}
    others = history('up{limr_dev_role!="driver",limr_dev_role!=""}')
    assert others == []


def test_every_documented_metric_has_data(history: History) -> None:
    assert_every_metric_has_data(history)


def test_every_alert_looks_at_something(history: History) -> None:
    assert blind_alerts(history) == []


def test_no_alert_fired(history: History) -> None:
    assert history('ALERTS{alertstate="firing"}') == []


def test_every_panel_shows_something(history: History) -> None:
    assert empty_panels(history) == []
