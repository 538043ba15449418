"""What a metric is to Prometheus: its name, type, help and labels, in one table from which pages and docs are made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Family = GaugeMetricFamily | CounterMetricFamily


class Type(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One row of docs/metrics.md. Names follow https://prometheus.io/docs/practices/naming/."""

    name: str  # a counter's ends in _total
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds, of a histogram

    def family(self) -> Family:
        """Of a gauge or a counter: empty, for a collector to fill."""
        kind = CounterMetricFamily if self.type is Type.COUNTER else GaugeMetricFamily
        return kind(self.name, self.help, labels=self.labels)

    def histogram_family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)


def gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(name, Type.GAUGE, help, labels)


def counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(name, Type.COUNTER, help, labels)


def histogram(name: str, help: str, buckets: Sequence[float], *labels: str) -> Metric:
    return Metric(name, Type.HISTOGRAM, help, labels, tuple(buckets))


def table(metrics: Iterable[Metric]) -> str:
    """Markdown."""
    rows = [f"| `{metric.name}` | {metric.type} | {', '.join(metric.labels)} | {metric.help} |" for metric in metrics]
    return "\n".join(["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", *rows])
