"""What a Prometheus has seen of everything that is documented, drawn or alerted on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from typing import Any

from chart import monitoring
from cluster.packages import program

from limr import metrics as stage_metrics
from limr.exposition import Metric, Type
from limr.metrics import INFO
from limr_operator import metrics as operator_metrics

# What Grafana fills in.
VARIABLES = {"$namespace": ".*", "$experiment": ".*", "$__rate_interval": "30s"}
PROMTOOL_SECONDS = 60

History = Callable[[str], list[Any]]  # expression -> the series that it had while everything ran


def assert_every_metric_has_data(history: History) -> None:
    """With all labels that its documentation names, but those of stage_info that may be empty."""
    metrics = [*operator_metrics.METRICS, *stage_metrics.METRICS]
    found = {metric.name: history(_counted(metric)) for metric in metrics}
    assert [name for name, series in found.items() if not series] == []
    for metric in metrics:
        assert all(set(metric.labels) <= series["metric"].keys() for series in found[metric.name] if metric is not INFO)


def blind_alerts(history: History) -> list[str]:
    """Alerts whose expression, but for its comparisons, has no series."""
    return [alert["alert"] for alert in monitoring.alerts() if not history(monitoring.uncompared(alert["expr"]))]


def empty_panels(history: History) -> list[str]:
    return [panel for panel, expression in _drawn() if not history(monitoring.uncompared(_filled(expression)))]


def _drawn() -> Iterable[tuple[str, str]]:
    for name, dashboard in monitoring.dashboards().items():
        for panel in monitoring.panels(dashboard):
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}: {target['expr']}", target["expr"]


def _counted(metric: Metric) -> str:
    return f"{metric.name}_count" if metric.type is Type.HISTOGRAM else metric.name


def _filled(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def faults(page: bytes) -> str:
    """What promtool finds wrong with a page of metrics."""
    command = [program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=page, capture_output=True, timeout=PROMTOOL_SECONDS, check=False)
    return (done.stdout + done.stderr).decode()
