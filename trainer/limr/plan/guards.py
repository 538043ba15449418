"""What the guards (spec.guards) mean for the plan: when a stage has stalled, what a trip holds back, and how long.

A trip lasts until its guard is changed in the spec, or until a person asks to go on (`renewed`): level-triggered like
all else, and nothing writes the spec but people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from limr.plan.graph import ENGINE_KINDS
from limr.plan.status import ACTIVE, StageState, StageStatus
from limr.spec import Action, Guards, Limits
from limr.stage import StageKind, Tripped, good_checkpoint

# A person cannot widen the bound of these: going on would repeat the same step with the same end.
REMEDIES = {
    "nonFinite": "lower ppo.actorLearningRate and ppo.criticLearningRate in a new experiment, or look at the prompts "
    "and rewards of that step; if a device was at fault, let it go on"
}
STEPPING = frozenset({StageKind.PROBE, StageKind.TRAINING})


def stall_checked(stage: StageStatus, guards: Guards, now: datetime) -> StageStatus:
    """`stage`, to be ended by force when it has stalled: it cannot be asked for a checkpoint."""
    end = stalls_at(stage, guards)
    if end is None or now < end:
        return stage
    assert guards.stall is not None
    last = stage.progress.checkpoint_step if stage.progress else None
    message = f"no step ended for guards.stall.seconds = {guards.stall.seconds}; {good_checkpoint(last)}"
    tripped = Tripped.by("stall", guards.stall)
    return stage.model_copy(
        update={"state": StageState.TERMINATING, "reason": "Stalled", "message": message, "tripped": tripped}
    )


def stalls_at(stage: StageStatus, guards: Guards) -> datetime | None:
    """When it has stalled unless a step ends before; None: it cannot."""
    if guards.stall is None or stage.kind not in STEPPING or stage.state is not StageState.RUNNING:
        return None
    since = stage.step_at or stage.started_at  # an operator before guards has kept no step_at
    assert since is not None, "set when the stage was first seen running"
    return since + timedelta(seconds=guards.stall.seconds)


def relieved(stage: StageStatus, guards: Guards) -> StageStatus:
    """`stage`, free to go on when the guard that ended it is another one by now, or none."""
    if stage.tripped is None or stage.state not in (StageState.PENDING, StageState.FAILED):
        return stage
    guard = guards.named(stage.tripped.guard)
    if guard is not None and Tripped.by(stage.tripped.guard, guard) == stage.tripped:
        return stage
    return stage.model_copy(update={"state": StageState.PENDING, "tripped": None, "charged_attempts": 0})


def is_held(stage: StageStatus) -> bool:
    """Whether a guard has ended it and it waits for a person."""
    return stage.state is StageState.PENDING and stage.tripped is not None


def holds(stages: Mapping[str, StageStatus], guards: Guards, broke: bool) -> str:
    """Which guard suspends the whole experiment, in words; "": none. `broke`: limits.deviceHours are spent."""
    tripped = ((name, stage.tripped) for name, stage in stages.items() if stage.tripped)
    by = next((f"guards.{trip.guard} of {name}" for name, trip in tripped if trip.action is Action.SUSPEND), "")
    wanting = broke and any(map(_wants_devices, stages.values()))
    return by or ("guards.deviceHours" if wanting and guards.device_hours.action is Action.SUSPEND else "")


def trips(stages: Mapping[str, StageStatus], limits: Limits, broke: bool) -> Iterator[tuple[str, str]]:
    """Reason and message of each guard that has tripped: where it goes on, and how."""
    for name, stage in stages.items():
        if stage.tripped:
            usual = f"mend the cause and let it go on, or change spec.guards.{stage.tripped.guard}"
            remedy = REMEDIES.get(stage.tripped.guard, usual)
            yield stage.reason, f"{name}, attempt {stage.attempt}: {stage.message}; {remedy}"
    wanting = {name: stage for name, stage in stages.items() if _wants_devices(stage)}
    if broke and wanting:
        yield (
            "BudgetSpent",
            f"limits.deviceHours = {limits.device_hours:g} are spent before the end of {', '.join(wanting)}"
            f"{_checkpoints(wanting)}; raise limits.deviceHours to go on from there",
        )


def _wants_devices(stage: StageStatus) -> bool:
    return stage.kind in ENGINE_KINDS and (stage.state is StageState.PENDING or stage.state in ACTIVE)


def _checkpoints(stages: Mapping[str, StageStatus]) -> str:
    steps = {name: stage.progress.checkpoint_step for name, stage in stages.items() if stage.progress}
    words = [f"{name} at step {step}" for name, step in steps.items() if step]
    return f"; last good checkpoints: {', '.join(words)}" if words else ""
