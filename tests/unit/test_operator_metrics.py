"""What the operator counts, and how experiments stand in what it shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from limr.plan import EndedAttempt, StageState, StageStatus, Status
from limr.stage import Ledger, Progress, StageKind
from limr_operator import metrics
from limr_operator.metrics import Readings, page

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = StageStatus(
    kind=StageKind.PROBE,
    state=StageState.RUNNING,
    attempt=1,
    started_at=NOW - timedelta(minutes=2),
    progress=Progress(updated_at=0.0, ledger=Ledger(device_seconds=100.0)),
)
EXPERIMENT: dict[str, Any] = {
    "metadata": {"namespace": "research", "name": "demo"},
    "spec": {"limits": {"deviceHours": 2, "heartbeatSeconds": 900}},
    "status": {
        "phase": "Running",
        "deviceHours": 0.5,
        "stages": {
            "probe": {
                "kind": "Probe",
                "state": "Running",
                "heartbeatAt": "2026-01-01T00:00:00Z",
                "progress": {"step": 3, "steps": 10, "ledger": {"deviceSeconds": 10.0}},
                "ledger": {"deviceSeconds": 5.0},
            },
            "select-lim": {"kind": "Selection", "state": "Succeeded", "selected": {"prompts": 7, "of": 20}},
        },
        "results": [{"name": "lim", "benchmarks": {"sums": {"mean": 0.8, "low": 0.7, "high": 0.9}}}],
    },
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(*experiments: dict[str, Any], leading: bool = True) -> Samples:
    shown = page(Readings(queue=2, lag_seconds=1.5, leading=leading, experiments=experiments)).decode()
    families = text_string_to_metric_families(shown)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def counted(before: StageStatus, after: StageStatus) -> Samples:
    """What one change adds."""
    earlier = samples()
    metrics.count(Status(stages={"probe": before}), Status(stages={"probe": after}), NOW)
    changed = {key: value - earlier.get(key, 0.0) for key, value in samples().items() if key[0].startswith("limr_")}
    return {key: value for key, value in changed.items() if value}


def attempts(change: Samples) -> dict[str, float]:
    return {dict(where)["reason"]: value for (name, where), value in change.items() if name.endswith("attempts_total")}


def durations(change: Samples) -> dict[str, float]:
    name = "limr_stage_duration_seconds_sum"
    return {dict(where)["outcome"]: value for (found, where), value in change.items() if found == name}


def test_an_attempt_that_succeeded() -> None:
    update = {"state": StageState.SUCCEEDED, "reason": "Completed", "finished_at": NOW}
    change = counted(RUNNING, RUNNING.model_copy(update={**update, "ledger": Ledger(device_seconds=130.0)}))
    assert attempts(change) == {"Completed": 1}
    assert durations(change) == {"succeeded": 120}
    assert change["limr_device_seconds_total", labels(kind="Probe")] == 30


def test_an_attempt_that_failed_and_is_tried_again_at_once() -> None:
    previous = EndedAttempt(attempt=1, reason="HeartbeatLost", message="")
    update = {"state": StageState.STARTING, "attempt": 2, "charged_attempts": 1, "previous": previous}
    gone = {"started_at": None, "progress": None, "ledger": Ledger(device_seconds=100.0)}
    change = counted(RUNNING, RUNNING.model_copy(update=update | gone))
    assert attempts(change) == {"HeartbeatLost": 1}
    assert durations(change) == {"failed": 120}
    assert ("limr_device_seconds_total", labels(kind="Probe")) not in change


def test_an_attempt_that_was_suspended() -> None:
    change = counted(RUNNING, RUNNING.model_copy(update={"state": StageState.PENDING, "reason": "Suspended"}))
    assert attempts(change) == {"Suspended": 1}
    assert durations(change) == {"interrupted": 120}


def test_reasons_of_plug_ins_share_a_series() -> None:
    update = {"state": StageState.FAILED, "reason": "MyOwnReason", "charged_attempts": 3, "finished_at": NOW}
    assert attempts(counted(RUNNING, RUNNING.model_copy(update=update))) == {"Other": 1}


def test_documented_reasons_of_ended_attempts_have_series_of_their_own() -> None:
    page = (Path(__file__).parents[2] / "docs" / "resource.md").read_text("utf-8")
    rows = page.partition("| reason | meaning | charged |")[2].partition("\n\n")[0].splitlines()[2:]
    reasons = {row.split("`")[1] for row in rows}
    assert reasons - {"NeedsFailedStage"} <= metrics.REASONS  # that one says why none begins


def test_nothing_is_counted_while_nothing_ends() -> None:
    assert counted(RUNNING, RUNNING) == {}


def test_how_an_experiment_stands() -> None:
    shown = samples(EXPERIMENT)
    demo = {"namespace": "research", "experiment": "demo"}
    assert shown["limr_experiments", labels(phase="Running")] == 1
    assert shown["limr_experiments", labels(phase="Failed")] == 0
    assert shown["limr_experiment_phase", labels(**demo, phase="Running")] == 1
    assert shown["limr_experiment_phase", labels(**demo, phase="Failed")] == 0
    assert shown["limr_experiment_device_seconds", labels(**demo)] == 1800
    assert shown["limr_experiment_device_seconds_limit", labels(**demo)] == 7200
    assert shown["limr_experiment_heartbeat_seconds_limit", labels(**demo)] == 900
    assert shown["limr_stage_state", labels(**demo, stage="probe", kind="Probe", state="Running")] == 1
    assert shown["limr_stage_device_seconds", labels(**demo, stage="probe")] == 15
    assert shown["limr_stage_steps_done", labels(**demo, stage="probe")] == 3
    assert shown["limr_stage_steps_planned", labels(**demo, stage="probe")] == 10
    assert shown["limr_stage_heartbeat_timestamp_seconds", labels(**demo, stage="probe")] == NOW.timestamp()
    assert shown["limr_selected_prompts", labels(**demo, stage="select-lim")] == 7
    assert shown["limr_candidate_prompts", labels(**demo, stage="select-lim")] == 20
    assert shown["limr_result_accuracy", labels(**demo, arm="lim", benchmark="sums")] == 0.8


def test_an_experiment_that_nobody_has_looked_at_is_pending() -> None:
    shown = samples({"metadata": {"namespace": "a", "name": "b"}, "spec": {"limits": {"deviceHours": None}}})
    assert shown["limr_experiments", labels(phase="Pending")] == 1
    assert shown["limr_experiment_device_seconds", labels(namespace="a", experiment="b")] == 0


def test_of_two_replicas_only_the_leader_shows_experiments() -> None:
    shown = samples(EXPERIMENT, leading=False)
    assert shown["limr_leading", labels()] == 0
    assert shown["limr_queue_length", labels()] == 2
    assert shown["limr_watch_lag_seconds", labels()] == 1.5
    assert not any("experiment" in name for name, _ in shown)


def test_what_is_gone_leaves_no_series() -> None:
    before = samples().keys()
    assert len(samples(EXPERIMENT)) > len(before)
    assert samples().keys() == before
