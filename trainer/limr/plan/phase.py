"""The experiment's phase and conditions, each with what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from limr.plan import last_lines
from limr.plan.graph import ENGINE_KINDS, Stage
from limr.plan.status import ACTIVE, Condition, Phase, StageState, StageStatus
from limr.stage import StageKind

REMEDIES = {
    "BadInput": "then run the failed stage afresh",  # the message says what to correct
    "DoesNotFit": "then run the failed stage afresh",
    "DeadlineExceeded": "raise limits.activeDeadlineSeconds or make the stage smaller, then run it afresh",
    "HeartbeatLost": "read the stage's log for where it hung, then run it afresh",
    "ScratchFull": "give spec.cluster.scratch more room, then run the failed stage afresh",
    "StoreUnavailable": "make the store reachable and writable, then run the failed stage afresh",
}
TRAINING_DID_HARM = "TrainingDidHarm"
USUAL_REMEDY = "read the stage's log, mend the cause and run the failed stage afresh"


class _Word(NamedTuple):
    holds: bool
    reason: str
    message: str


def phase_of(order: tuple[Stage, ...], stages: Mapping[str, StageStatus], suspend: bool, broke: bool) -> Phase:
    states = {stage.state for stage in stages.values()}
    if states == {StageState.SUCCEEDED}:
        return Phase.COMPLETE
    active = bool(states & ACTIVE)
    if not active and not _startable(order, stages, broke):
        return Phase.FAILED
    if suspend:
        return Phase.SUSPENDING if active else Phase.SUSPENDED
    begun = any(stage.attempt for stage in stages.values())
    return Phase.RUNNING if begun else Phase.PENDING


def conditions(
    phase: Phase,
    stages: Mapping[str, StageStatus],
    before: tuple[Condition, ...],
    generation: int,
    trips: Sequence[tuple[str, str]],
    *,
    held: str,
    waits: str,
    now: datetime,
) -> tuple[Condition, ...]:
    """Accepted, Progressing, Guarded, Suspended, Complete, Failed; the time of one moves only when its status does.

    `trips`: reason and message of each guard that has tripped; `held`: the one that suspends the experiment; `waits`:
    which stage cannot begin yet, and why, in words.
    """
    words = {
        "Accepted": _accepted(stages),
        "Progressing": _progressing(phase, stages, waits),
        "Guarded": _guarded(trips),
        "Suspended": _suspended(phase, held),
        "Complete": _complete(phase, stages),
        "Failed": _failed(phase, stages, trips),
    }
    old = {condition.type: condition for condition in before}
    return tuple(condition(kind, *word, old.get(kind), generation, now) for kind, word in words.items())


def _startable(order: tuple[Stage, ...], stages: Mapping[str, StageStatus], broke: bool) -> bool:
    """Whether any stage may still begin, now or later."""
    stuck: set[str] = set()
    for node in order:
        stage = stages[node.name]
        unaffordable = broke and stage.kind in ENGINE_KINDS and stage.state is StageState.PENDING
        if unaffordable or stage.state is StageState.FAILED or stuck.intersection(node.needs):
            stuck.add(node.name)
    return any(stage.state is StageState.PENDING and name not in stuck for name, stage in stages.items())


def _accepted(stages: Mapping[str, StageStatus]) -> _Word:
    """What the schema cannot say, the preflight does: it reads the model's configuration, the prompts and the rest."""
    for name, stage in stages.items():
        if stage.kind is StageKind.PREFLIGHT and stage.state is StageState.FAILED:
            return _Word(False, stage.reason, _sentence(name, stage))
    return _Word(True, "Valid", "the spec is valid")


def _progressing(phase: Phase, stages: Mapping[str, StageStatus], waits: str) -> _Word:
    active = [f"{name} (attempt {stage.attempt})" for name, stage in stages.items() if stage.state in ACTIVE]
    waiting = [
        f"{name} after {stage.reason}: {stage.message}"
        for name, stage in stages.items()
        if stage.state is StageState.PENDING and stage.retry_at
    ]
    if active:
        return _Word(True, "StagesRunning", f"running: {', '.join(active)}")
    if waits:
        return _Word(True, "WaitingForCluster", waits)
    if phase is Phase.RUNNING and waiting:
        return _Word(True, "WaitingToRetry", f"will be tried again: {'; '.join(waiting)}")
    if phase in (Phase.RUNNING, Phase.PENDING):
        return _Word(True, "Starting", "the next stage is about to begin")
    return _Word(False, phase.value, "nothing is running")


def _guarded(trips: Sequence[tuple[str, str]]) -> _Word:
    if trips:
        return _Word(True, trips[0][0], "\n".join(message for _, message in trips))
    return _Word(False, "NotTripped", "no guard has ended anything")


def _suspended(phase: Phase, held: str) -> _Word:
    if phase is Phase.SUSPENDED and held:
        return _Word(True, "Guarded", f"nothing is running, because of {held}; see the condition Guarded")
    if phase is Phase.SUSPENDED:
        return _Word(True, "Suspended", "nothing is running; set schedule.suspend to false to go on at the same step")
    if phase is Phase.SUSPENDING:
        return _Word(False, "Suspending", "running stages are writing their checkpoints")
    return _Word(False, "NotSuspended", "schedule.suspend is false")


def _complete(phase: Phase, stages: Mapping[str, StageStatus]) -> _Word:
    if phase is Phase.COMPLETE:
        # A report has a message when training went wrong; that comes before where to read about the selections.
        problems = [stage.message for stage in stages.values() if stage.kind is StageKind.REPORT and stage.message]
        if problems:
            return _Word(True, TRAINING_DID_HARM, f"{problems[0]} All {len(stages)} stages ended; see the report")
        return _Word(True, "AllStagesSucceeded", f"all {len(stages)} stages succeeded; see the report")
    done = sum(stage.state is StageState.SUCCEEDED for stage in stages.values())
    return _Word(False, "NotFinished", f"{done} of {len(stages)} stages have succeeded")


def _failed(phase: Phase, stages: Mapping[str, StageStatus], trips: Sequence[tuple[str, str]]) -> _Word:
    if phase is not Phase.FAILED:
        return _Word(False, "NotFailed", "no stage has failed for good")
    failed = [_sentence(name, stage) for name, stage in stages.items() if stage.state is StageState.FAILED]
    budget = [message for reason, message in trips if reason == "BudgetSpent"]
    told = "\n".join([*failed, *budget])
    return _Word(True, "StageFailed" if failed else "BudgetSpent", "\n\n".join([told, *last_lines.told(stages)]))


def _sentence(name: str, stage: StageStatus) -> str:
    if stage.tripped:
        return f"{name} was stopped by guards.{stage.tripped.guard} ({stage.reason}): {stage.message}; see Guarded"
    tries = "1 attempt" if stage.charged_attempts == 1 else f"{stage.charged_attempts} attempts"
    remedy = REMEDIES.get(stage.reason, USUAL_REMEDY)
    return f"{name} failed after {tries} ({stage.reason}): {stage.message}; {remedy}"


def condition(
    kind: str, holds: bool, reason: str, message: str, before: Condition | None, generation: int, now: datetime
) -> Condition:
    """The condition that follows `before`, the last one of its type: its time moves only when its status does."""
    status: Literal["True", "False"] = "True" if holds else "False"
    since = before.last_transition_time if before and before.status == status else now
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )
