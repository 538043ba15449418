"""What the operator shows Prometheus.

What happens is counted as it does. How experiments stand is worked out at each scrape from what the watches have
delivered, and by the leader alone: nothing is remembered, so an experiment that is gone leaves no series behind, and
two replicas do not show it twice.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from limr.exposition import Family, Metric, counter, gauge, histogram
from limr.plan import ACTIVE, Phase, StageState, StageStatus, Status
from limr_operator.snapshot import Object

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Reasons of ended attempts that have a series of their own; plug-ins may bring any others.
REASONS = frozenset(
    {
        *(
            "Completed",
            "Suspended",
            "BudgetSpent",
            "Preempted",
            "Interrupted",
            "Vanished",
            "Evicted",
            "HeadLost",
            "ClusterLost",
        ),
        *("HeartbeatLost", "DeadlineExceeded", "OutOfMemory", "NoResult", "Refused", "Unreadable", "Crashed"),
        *("NonFinite", "GradNormAboveBound", "AccuracyCollapsed", "KLAboveBound", "RewardCollapsed", "Stalled"),
        *(
            "BadInput",
            "DoesNotFit",
            "ResourcesMissing",
            "ProcessLost",
            "GraderLost",
            "StaleWeights",
            "StoreUnavailable",
            "ScratchFull",
            "Fenced",
        ),
    }
)
OTHER = "Other"

EXPERIMENT = ("namespace", "experiment")
STAGE = (*EXPERIMENT, "stage")

# Of this process.
RECONCILE = histogram(
    "limr_reconcile_seconds",
    "Time of one look at an experiment, API calls included.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ERRORS = counter("limr_reconcile_errors_total", "Looks at an experiment that failed and will be tried again.")
QUEUE = gauge("limr_queue_length", "Experiments that are due for a look, or being looked at.")
LAG = gauge("limr_watch_lag_seconds", "For how long something is known that no watch has delivered.")
LEADING = gauge("limr_leading", "1 while this replica holds the Lease.")

# What happened since this process began to lead.
DURATION = histogram(
    "limr_stage_duration_seconds",
    "From the beginning of an attempt to its end, by outcome: succeeded, failed, or interrupted by others.",
    (10, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 259200),
    *("kind", "outcome"),
)
ATTEMPTS = counter("limr_stage_attempts_total", "Attempts that ended, by reason.", "kind", "reason")
DEVICE_SECONDS = counter("limr_device_seconds_total", "Device-seconds that stages have reported.", "kind")

# How experiments stand.
EXPERIMENTS = gauge("limr_experiments", "Experiments, by phase.", "phase")
PHASE = gauge("limr_experiment_phase", "1 for the phase that the experiment is in, else 0.", *EXPERIMENT, "phase")
GUARDED = gauge("limr_experiment_guarded", "1 while its condition Guarded holds, else 0.", *EXPERIMENT)
SPENT = gauge("limr_experiment_device_seconds", "Device-seconds that the experiment has cost.", *EXPERIMENT)
BUDGET = gauge("limr_experiment_device_seconds_limit", "Its limits.deviceHours, in seconds.", *EXPERIMENT)
SILENCE = gauge("limr_experiment_heartbeat_seconds_limit", "Its limits.heartbeatSeconds.", *EXPERIMENT)
STATE = gauge("limr_stage_state", "1 for the state that the stage is in.", *STAGE, "kind", "state")
STEPS = gauge("limr_stage_steps_done", "Steps that the stage's latest attempt has done, as it said last.", *STAGE)
PLANNED = gauge("limr_stage_steps_planned", "Steps that it is to do.", *STAGE)
HEARTBEAT = gauge("limr_stage_heartbeat_timestamp_seconds", "When a working stage last said something new.", *STAGE)
COST = gauge("limr_stage_device_seconds", "Device-seconds of all attempts of the stage.", *STAGE)
SELECTED = gauge("limr_selected_prompts", "Prompts that the selection kept.", *STAGE)
CANDIDATES = gauge("limr_candidate_prompts", "Prompts that it chose from.", *STAGE)
ACCURACY = gauge("limr_result_accuracy", "Accuracy in the report.", *EXPERIMENT, "arm", "benchmark")

METRICS: tuple[Metric, ...] = (
    *(RECONCILE, ERRORS, QUEUE, LAG, LEADING, DURATION, ATTEMPTS, DEVICE_SECONDS, EXPERIMENTS, PHASE, SPENT, BUDGET),
    *(GUARDED, SILENCE, STATE, STEPS, PLANNED, HEARTBEAT, COST, SELECTED, CANDIDATES, ACCURACY),
)

disable_created_metrics()  # type: ignore[no-untyped-call]
_events = CollectorRegistry()
ProcessCollector(registry=_events)
reconcile_seconds = Histogram(RECONCILE.name, RECONCILE.help, buckets=RECONCILE.buckets, registry=_events)
reconcile_errors = Counter(ERRORS.name, ERRORS.help, registry=_events)
_duration = Histogram(DURATION.name, DURATION.help, DURATION.labels, buckets=DURATION.buckets, registry=_events)
_attempts = Counter(ATTEMPTS.name, ATTEMPTS.help, ATTEMPTS.labels, registry=_events)
_device_seconds = Counter(DEVICE_SECONDS.name, DEVICE_SECONDS.help, DEVICE_SECONDS.labels, registry=_events)


def count(before: Status, after: Status, now: datetime) -> None:
    """Counts what changed between two statuses that were stored one after the other."""
    for name, stage in after.stages.items():
        old = before.stages.get(name) or StageStatus(kind=stage.kind)
        kind = stage.kind.value
        _device_seconds.labels(kind).inc(max(0.0, _cost(stage) - _cost(old)))
        if old.state in ACTIVE and (stage.state not in ACTIVE or stage.attempt > old.attempt):
            reason, outcome = _ending(old, stage)
            _attempts.labels(kind, reason if reason in REASONS else OTHER).inc()
            began = old.started_at or stage.started_at
            if began is not None:
                _duration.labels(kind, outcome).observe(((stage.finished_at or now) - began).total_seconds())


def _ending(old: StageStatus, new: StageStatus) -> tuple[str, str]:
    """Reason and outcome of the attempt that `old` was at; `new` may be at the next one already."""
    if new.state is StageState.SUCCEEDED:
        return new.reason, "succeeded"
    ended = new.previous if new.attempt > old.attempt else None
    failed = new.charged_attempts > old.charged_attempts
    return (ended or new).reason, "failed" if failed else "interrupted"


def _cost(stage: StageStatus) -> float:
    running = stage.progress.ledger.device_seconds if stage.progress and stage.state in ACTIVE else 0.0
    return stage.ledger.device_seconds + running


@dataclass(frozen=True)
class Readings:
    """What a scrape asks the rest of the operator. `experiments` are empty where this replica does not lead."""

    queue: int
    lag_seconds: float
    leading: bool
    experiments: Iterable[Object]


def page(readings: Readings) -> bytes:
    """The text that /metrics answers. It takes milliseconds for each hundred experiments: not for the event loop."""
    registry = CollectorRegistry()
    registry.register(_Standing(readings))
    return generate_latest(_events) + generate_latest(registry)


class _Standing(Collector):
    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        readings = self._readings
        for metric, value in (
            (QUEUE, readings.queue),
            (LAG, readings.lag_seconds),
            (LEADING, readings.leading),
        ):
            family = metric.family()
            family.add_metric([], float(value))
            yield family
        if readings.leading:
            yield from _of_experiments(readings.experiments)


def _of_experiments(experiments: Iterable[Object]) -> Iterator[Family]:
    """From the raw objects: parsing hundreds of statuses into models would take seconds."""
    families = {metric: metric.family() for metric in METRICS if metric.labels[:2] == EXPERIMENT}
    phases: Tally[str] = Tally()
    for experiment in experiments:
        phases[_phase(experiment)] += 1
        for metric, labels, value in _series(experiment):
            families[metric].add_metric(labels, value)
    by_phase = EXPERIMENTS.family()
    for phase in Phase:
        by_phase.add_metric([phase.value], phases[phase.value])
    yield by_phase
    yield from families.values()


Series = tuple[Metric, list[str], float]


def _phase(experiment: Object) -> str:
    return str((experiment.get("status") or {}).get("phase") or Phase.PENDING.value)


def _series(experiment: Object) -> Iterator[Series]:
    metadata, status = experiment["metadata"], experiment.get("status") or {}
    where = [metadata["namespace"], metadata["name"]]
    for phase in Phase:
        yield PHASE, [*where, phase.value], float(phase.value == _phase(experiment))
    yield GUARDED, where, float(_holds(status, "Guarded"))
    yield SPENT, where, 3600.0 * status.get("deviceHours", 0.0)
    limits = experiment.get("spec", {}).get("limits", {})
    if (budget := limits.get("deviceHours")) is not None:
        yield BUDGET, where, 3600.0 * budget
    if (silence := limits.get("heartbeatSeconds")) is not None:  # the API server writes the default
        yield SILENCE, where, silence
    for name, stage in status.get("stages", {}).items():
        yield from _of_stage([*where, name], stage)
    for row in status.get("results", ()):
        for benchmark, interval in row.get("benchmarks", {}).items():
            yield ACCURACY, [*where, row["name"], benchmark], interval["mean"]


def _holds(status: Object, kind: str) -> bool:
    conditions = status.get("conditions", ())
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


def _of_stage(where: list[str], stage: Mapping[str, Any]) -> Iterator[Series]:
    state, progress = stage.get("state", StageState.PENDING.value), stage.get("progress") or {}
    yield STATE, [*where, stage["kind"], state], 1.0
    running = progress.get("ledger", {}).get("deviceSeconds", 0.0) if state in ACTIVE else 0.0
    yield COST, where, stage.get("ledger", {}).get("deviceSeconds", 0.0) + running
    if progress.get("steps"):
        yield STEPS, where, progress.get("step", 0)
        yield PLANNED, where, progress["steps"]
    if state == StageState.RUNNING.value and stage.get("heartbeatAt"):
        yield HEARTBEAT, where, datetime.fromisoformat(stage["heartbeatAt"]).timestamp()
    if selected := stage.get("selected"):
        yield SELECTED, where, selected["prompts"]
        yield CANDIDATES, where, selected["of"]
