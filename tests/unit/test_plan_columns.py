"""The texts that `kubectl get limr` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from limr.plan import Condition, Phase, StageState, StageStatus, Status, with_columns
from limr.stage import ArmResult, Interval, Progress, Selected, StageKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DONE, PENDING, RUNNING = StageState.SUCCEEDED, StageState.PENDING, StageState.RUNNING


def training(state: StageState = PENDING, **fields: Any) -> StageStatus:
    return StageStatus(kind=StageKind.TRAINING, state=state, **fields)


def selection(prompts: int) -> StageStatus:
    return StageStatus(kind=StageKind.SELECTION, state=DONE, selected=Selected(prompts=prompts, of=8523))


def at_step(step: int, steps: int = 160) -> Progress:
    return Progress(updated_at=0.0, step=step, steps=steps)


def shown(**stages: StageStatus) -> Status:
    return with_columns(Status(stages={name.replace("_", "-"): stage for name, stage in stages.items()}))


def condition(kind: str, status: Any, message: str) -> Condition:
    return Condition(type=kind, status=status, reason="Because", message=message, last_transition_time=NOW)


def test_before_the_operator_has_seen_it() -> None:
    assert with_columns(Status()) == Status(spent="0.00")


@pytest.mark.parametrize(
    ("stages", "stage", "progress"),
    [
        ({"probe": training(RUNNING, progress=at_step(12))}, "probe", "12/160"),
        ({"probe": training(RUNNING)}, "probe", "running"),
        ({"probe": training(StageState.STARTING)}, "probe", "starting"),
        ({"probe": training(StageState.QUEUED, progress=at_step(12))}, "probe", "queued"),
        ({"probe": training(StageState.STOPPING, progress=at_step(12))}, "probe", "12/160"),
        ({"probe": training(StageState.TERMINATING, progress=at_step(12))}, "probe", "ending"),
        ({"probe": training(DONE), "a": training(RUNNING), "b": training(RUNNING)}, "a +1", "running"),
        ({"probe": training(DONE), "a": training(PENDING, attempt=1)}, "a", "1/2 stages"),
        ({"probe": training(StageState.FAILED, progress=at_step(9)), "a": training()}, "probe", "9/160"),
        ({"a": training(StageState.FAILED), "b": training(RUNNING)}, "b", "running"),
        ({"probe": training(DONE), "a": training()}, "", "1/2 stages"),
        ({"probe": training(DONE)}, "", "1/1 stages"),
    ],
)
def test_stage_and_progress(stages: dict[str, StageStatus], stage: str, progress: str) -> None:
    status = shown(**stages)
    assert (status.stage, status.progress) == (stage, progress)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, ""),
        ({"lim": 1389}, "1389/8523"),
        ({"lim": 1389, "random": 1389}, "1389/8523"),
        ({"lim": 1389, "high": 700}, "lim 1389, high 700"),
        ({"lim": 1389, "high": 700, "full": 8523}, "lim 1389, high 700 +1"),
    ],
)
def test_selected(counts: dict[str, int], text: str) -> None:
    assert shown(**{f"select_{arm}": selection(count) for arm, count in counts.items()}).selected == text


def result(name: str, **accuracies: float) -> ArmResult:
    benchmarks = {name: Interval(mean=mean, low=0, high=1) for name, mean in accuracies.items()}
    return ArmResult(name=name, benchmarks=benchmarks)


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ((), ""),
        ((result("base"), result("lim")), ""),
        ((result("base", sums=0.4), result("lim", sums=0.535)), "lim 53.5%"),
        ((result("base", sums=0.6), result("lim", sums=0.5)), "base 60.0% (no arm better)"),
        ((result("base", sums=0.6), result("lim")), "base 60.0%"),
        ((result("lim", a=0.1, b=0.3, average=0.2), result("full", a=0.9, b=0.0, average=0.1)), "lim 20.0%"),
    ],
)
def test_best(results: tuple[ArmResult, ...], text: str) -> None:
    assert with_columns(Status(results=results)).best == text


def test_cost() -> None:
    stages = {"probe": training(DONE, charged_attempts=2), "a": training(charged_attempts=1)}
    status = with_columns(Status(stages=stages, device_hours=12.3456))
    assert (status.spent, status.charged_attempts) == ("12.35", 3)


def test_the_most_telling_message() -> None:
    going, failed = condition("Progressing", "True", "running: probe"), condition("Failed", "True", "probe\nfailed")
    fine = condition("Failed", "False", "no stage has failed")
    assert with_columns(Status(conditions=(going, fine))).message == "running: probe"
    assert with_columns(Status(conditions=(going, failed))).message == "probe failed"
    refused = condition("Accepted", "False", "there is no strategy 'lmi'")
    assert with_columns(Status(conditions=(refused, failed))).message == "there is no strategy 'lmi'"
    long = with_columns(Status(conditions=(condition("Failed", "True", "x" * 500),))).message
    assert (len(long), long[-1]) == (200, "…")


def test_why_a_stage_waits_is_told() -> None:
    probe = training(StageState.QUEUED, message="no node has 8 free GPUs")
    status = Status(phase=Phase.RUNNING, stages={"probe": probe}, conditions=(condition("Progressing", "True", "x"),))
    assert with_columns(status).message == "probe: no node has 8 free GPUs"
