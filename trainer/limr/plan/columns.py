"""What `kubectl get limr` shows: a status in a few short texts."""

from __future__ import annotations

from collections.abc import Mapping

from limr.plan.status import ACTIVE, Condition, Phase, StageState, StageStatus, Status
from limr.stage import ArmResult, Interval, StageKind

Stages = Mapping[str, StageStatus]

BASE = "base"  # the base model's line of the results
MESSAGE_LENGTH = 200
WORDS = {StageState.STARTING: "starting", StageState.QUEUED: "queued", StageState.TERMINATING: "ending"}


def with_columns(status: Status) -> Status:
    """`status` with its texts as its other fields say."""
    stages = status.stages
    current = _current(stages)
    return status.model_copy(
        update={
            "stage": _stage(stages, current),
            "progress": _progress(stages, current),
            "selected": _selected(stages),
            "best": _best(status.results),
            "spent": f"{status.device_hours:.2f}",
            "charged_attempts": sum(stage.charged_attempts for stage in stages.values()),
            "message": _message(status, current),
        }
    )


def _current(stages: Stages) -> str | None:
    """The first stage that is at work; else one that waits for its next try, or that has failed."""
    for interesting in (_is_active, _is_retried, _has_failed):
        for name, stage in stages.items():
            if interesting(stage):
                return name
    return None


def _is_active(stage: StageStatus) -> bool:
    return stage.state in ACTIVE


def _is_retried(stage: StageStatus) -> bool:
    return stage.state is StageState.PENDING and stage.attempt > 0


def _has_failed(stage: StageStatus) -> bool:
    return stage.state is StageState.FAILED


def _stage(stages: Stages, current: str | None) -> str:
    if current is None:
        return ""
    others = sum(name != current and _is_active(stage) for name, stage in stages.items())
    return f"{current} +{others}" if others else current


def _progress(stages: Stages, current: str | None) -> str:
    if current is not None:
        stage = stages[current]
        if stage.state in WORDS:
            return WORDS[stage.state]
        if stage.progress and stage.progress.steps:
            return f"{stage.progress.step}/{stage.progress.steps}"
        if _is_active(stage):
            return "running"
    done = sum(stage.state is StageState.SUCCEEDED for stage in stages.values())
    return f"{done}/{len(stages)} stages" if stages else ""


def _selected(stages: Stages) -> str:
    """1389/8523, or each arm's count where they differ."""
    kept = {
        name.removeprefix("select-"): stage.selected
        for name, stage in stages.items()
        if stage.kind is StageKind.SELECTION and stage.selected
    }
    if len({selected.prompts for selected in kept.values()}) < 2:
        return next((f"{selected.prompts}/{selected.of}" for selected in kept.values()), "")
    first, second, *others = (f"{arm} {selected.prompts}" for arm, selected in kept.items())
    return f"{first}, {second} +{len(others)}" if others else f"{first}, {second}"


def _best(results: tuple[ArmResult, ...]) -> str:
    """The base model counts too: when it is the best, training did harm."""
    measured = [(result.name, accuracy) for result in results if (accuracy := _accuracy(result))]
    if not measured:
        return ""
    name, accuracy = max(measured, key=lambda line: line[1].mean)
    harm = " (no arm better)" if name == BASE and len(measured) > 1 else ""
    return f"{name} {accuracy.mean:.1%}{harm}"


def _accuracy(result: ArmResult) -> Interval | None:
    only = next(iter(result.benchmarks.values())) if len(result.benchmarks) == 1 else None
    return result.benchmarks.get("average", only)


def _message(status: Status, current: str | None) -> str:
    stage = status.stages[current] if current else None
    if status.phase is Phase.RUNNING and stage and stage.state is StageState.QUEUED and stage.message:
        text = f"{current}: {stage.message}"
    else:
        text = _telling(status.conditions)
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LENGTH else f"{line[: MESSAGE_LENGTH - 1]}…"


def _telling(conditions: tuple[Condition, ...]) -> str:
    """Bad news first, then an end, then what goes on."""
    found = {condition.type: condition for condition in conditions}
    telling = {"Accepted": "False", "Failed": "True", "Guarded": "True", "Suspended": "True", "Complete": "True"}
    for kind, status in telling.items():
        if kind in found and found[kind].status == status:
            return found[kind].sentence
    return found["Progressing"].sentence if "Progressing" in found else ""
