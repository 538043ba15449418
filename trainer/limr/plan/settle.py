"""One stage and what was seen of its child: how its attempt begins, lives and ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from limr.log_lines import bounded
from limr.plan.graph import MAX_ATTEMPTS
from limr.plan.observation import Died, Finished, Observation, Running, Waiting
from limr.plan.status import ACTIVE, EndedAttempt, StageState, StageStatus
from limr.spec import Action, Limits
from limr.stage import Ledger, Outcome, Progress, StageResult

# Least time from the beginning of one attempt to that of the next: what ran for longer is tried again at once.
FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(minutes=5)

NOT_RETRIED = frozenset({"BadInput", "DoesNotFit"})  # the same input would fail again
STOP_REASONS = frozenset({"Suspended", "BudgetSpent"})  # why we end an attempt that is not to blame


def settle(stage: StageStatus, seen: Observation | None, limits: Limits, now: datetime) -> StageStatus:
    """`stage` after what was seen of its current child; None: there is no such child."""
    if stage.state not in ACTIVE:
        return stage
    match seen:
        case None:
            return _absent(stage, limits, now)
        case Waiting(reason, message):
            return _waiting(stage, reason, message)
        case Running(progress):
            return _running(stage, progress, limits, now)
        case Finished(result, progress):
            return _finished(changed(stage, progress=progress or stage.progress), result, limits, now)
        case Died(reason, message, charged, last_lines):
            if stage.state is StageState.TERMINATING:
                return _terminated(stage, limits, now, last_lines)
            return close(stage, reason, message, charged, limits, now, last_lines=last_lines)


def start(stage: StageStatus, attempt: int) -> StageStatus:
    """The next attempt begins; why the one before ended stays to be read."""
    ended = ended_attempt(stage) if stage.attempt else None
    return changed(
        stage,
        state=StageState.STARTING,
        attempt=attempt,
        started_at=None,
        heartbeat_at=None,
        step_at=None,
        finished_at=None,
        retry_at=None,
        reason="",
        message="",
        last_lines=(),
        previous=ended,
        tripped=None,
        progress=None,
    )


def ended_attempt(stage: StageStatus) -> EndedAttempt:
    return EndedAttempt(attempt=stage.attempt, reason=stage.reason, message=stage.message, last_lines=stage.last_lines)


def ask_to_stop(stage: StageStatus, reason: str, message: str, limits: Limits, now: datetime) -> StageStatus:
    """Ends the attempt without blame: at a checkpoint when it runs, at once when it has not begun."""
    match stage.state:
        case StageState.STARTING:
            return close(stage, reason, message, charged=False, limits=limits, now=now)
        case StageState.QUEUED:
            return changed(stage, state=StageState.TERMINATING, reason=reason, message=message)
        case StageState.RUNNING:
            return changed(stage, state=StageState.STOPPING, reason=reason, message=message)
        case _:
            return stage


def close(
    stage: StageStatus,
    reason: str,
    message: str,
    charged: bool,
    limits: Limits,
    now: datetime,
    ledger: Ledger | None = None,
    last_lines: Sequence[str] = (),
) -> StageStatus:
    """The attempt ended without success: another one later, or none when its tries are used up or a guard says so."""
    stopped = stage.tripped is not None and stage.tripped.action is Action.STOP
    charges = stage.charged_attempts + charged
    hopeless = stopped or (charged and (reason in NOT_RETRIED or charges >= limits.attempts))
    if ledger is None:
        ledger = stage.progress.ledger if stage.progress else Ledger()
    ended = changed(
        stage,
        state=StageState.FAILED if hopeless or stage.attempt >= MAX_ATTEMPTS else StageState.PENDING,
        charged_attempts=charges,
        finished_at=now,
        reason=reason,
        message=message,
        last_lines=bounded(last_lines),  # whoever says them
        ledger=stage.ledger + ledger,
    )
    if ended.state is StageState.FAILED or ended.tripped:
        return ended  # a person decides
    pause = _backoff(charges) if charged else FIRST_BACKOFF
    return changed(ended, retry_at=(stage.started_at or now) + pause)


def next_check(stage: StageStatus, limits: Limits) -> list[datetime]:
    """When time alone changes something about a stage."""
    if stage.state is StageState.PENDING and stage.retry_at:
        return [stage.retry_at]
    if stage.state not in (StageState.RUNNING, StageState.STOPPING):
        return []
    return [_silent_at(stage, limits), *_overdue_at(stage, limits)]


def changed(stage: StageStatus, **fields: Any) -> StageStatus:
    return stage.model_copy(update=fields)


def _absent(stage: StageStatus, limits: Limits, now: datetime) -> StageStatus:
    match stage.state:
        case StageState.STARTING:
            return stage  # its child is still to be made
        case StageState.TERMINATING:
            return _terminated(stage, limits, now)
        case _:
            return close(stage, "Vanished", "its process was removed by someone else", False, limits, now)


def _waiting(stage: StageStatus, reason: str, message: str) -> StageStatus:
    if stage.state in (StageState.STOPPING, StageState.TERMINATING):
        return stage
    return changed(stage, state=StageState.QUEUED, reason=reason, message=message, started_at=None, heartbeat_at=None)


def _running(stage: StageStatus, progress: Progress | None, limits: Limits, now: datetime) -> StageStatus:
    if stage.state in (StageState.STARTING, StageState.QUEUED):
        begun = {"started_at": now, "heartbeat_at": now, "step_at": now}
        stage = changed(stage, state=StageState.RUNNING, reason="", message="", **begun)
    if progress is not None and progress != stage.progress:
        if progress.step != (stage.progress.step if stage.progress else 0):
            stage = changed(stage, step_at=now)
        stage = changed(stage, progress=progress, heartbeat_at=now)
    if stage.state is StageState.TERMINATING:
        return stage
    if any(now >= end for end in _overdue_at(stage, limits)):
        message = f"it ran longer than limits.activeDeadlineSeconds = {limits.active_deadline_seconds}"
        return changed(stage, state=StageState.TERMINATING, reason="DeadlineExceeded", message=message)
    if now >= _silent_at(stage, limits):
        message = f"it was silent for longer than limits.heartbeatSeconds = {limits.heartbeat_seconds}"
        return changed(stage, state=StageState.TERMINATING, reason="HeartbeatLost", message=message)
    return stage


def _finished(stage: StageStatus, result: StageResult, limits: Limits, now: datetime) -> StageStatus:
    stage = changed(stage, started_at=stage.started_at or now)
    match result.outcome:
        case Outcome.SUCCEEDED:
            return changed(
                stage,
                state=StageState.SUCCEEDED,
                finished_at=now,
                retry_at=None,
                tripped=None,
                reason=result.reason,
                message=result.message,
                selected=result.selected,
                outputs=dict(result.outputs),
                ledger=stage.ledger + result.ledger,
                progress=_without_curve(stage.progress),
            )
        case Outcome.SUSPENDED:
            return close(stage, result.reason, result.message, False, limits, now, result.ledger)
        case Outcome.GUARDED:
            guarded = changed(stage, tripped=result.tripped)
            return close(guarded, result.reason, result.message, False, limits, now, result.ledger)
        case Outcome.FAILED:
            return close(stage, result.reason, result.message, True, limits, now, result.ledger, result.last_lines)


def _without_curve(progress: Progress | None) -> Progress | None:
    """The report has the whole one, and a status may hold hundreds of stages that are over."""
    return progress and progress.model_copy(update={"reward_curve": ()})


def _terminated(stage: StageStatus, limits: Limits, now: datetime, last_lines: tuple[str, ...] = ()) -> StageStatus:
    charged = stage.tripped is None and stage.reason not in STOP_REASONS
    return close(stage, stage.reason, stage.message, charged, limits, now, last_lines=last_lines if charged else ())


def _silent_at(stage: StageStatus, limits: Limits) -> datetime:
    assert stage.heartbeat_at is not None, "set when the stage was first seen running"
    return stage.heartbeat_at + timedelta(seconds=limits.heartbeat_seconds)


def _overdue_at(stage: StageStatus, limits: Limits) -> list[datetime]:
    if limits.active_deadline_seconds is None or stage.started_at is None:
        return []
    return [stage.started_at + timedelta(seconds=limits.active_deadline_seconds)]


def _backoff(charges: int) -> timedelta:
    """10 s, 20 s, 40 s … up to five minutes."""
    return min(FIRST_BACKOFF * (1 << (charges - 1)), LONGEST_BACKOFF)
