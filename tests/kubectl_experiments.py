"""Experiments as `kubectl get -o json` gives them, in the states that a person meets."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

from limr.plan import Condition, EndedAttempt, Phase, StageState, StageStatus, Status, with_columns
from limr.plan.guards import trips
from limr.spec import Action, Limits
from limr.stage import ArmResult, Interval, Ledger, Progress, Selected, StageKind, Tripped

NOW = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
KINDS = {
    "probe": StageKind.PROBE,
    "select": StageKind.SELECTION,
    "train": StageKind.TRAINING,
    "evaluate": StageKind.EVALUATION,
    "report": StageKind.REPORT,
}
CURVE = tuple(round(0.1 + 0.5 * (1 - math.exp(-step / 12)), 4) for step in range(30))


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


def manifest(status: Status, name: str = "qwen-math", **spec: Any) -> dict[str, Any]:
    said = with_columns(status).model_dump(mode="json", by_alias=True, exclude_none=True)
    metadata = {"name": name, "namespace": "rl", "uid": "3f2c1d00-1", "generation": 1}
    return {
        "apiVersion": "limr.dev/v1alpha1",
        "kind": "LIMRExperiment",
        "metadata": {**metadata, "creationTimestamp": "2026-01-01T23:40:00Z"},
        "spec": {"limits": {"attempts": 3, "deviceHours": 400}, **spec},
        "status": json.loads(json.dumps(said, sort_keys=True)),  # as the API orders it
    }


def stages(**special: StageStatus) -> dict[str, StageStatus]:
    names = ("probe", "select_lim", "select_random", "train_lim_s1", "train_random_s1", "evaluate", "report")
    waiting = {name: StageStatus(kind=KINDS[name.partition("_")[0]]) for name in names}
    return {name.replace("_", "-"): stage for name, stage in {**waiting, **special}.items()}


def succeeded(kind: StageKind, **fields: Any) -> StageStatus:
    return StageStatus(
        kind=kind,
        state=StageState.SUCCEEDED,
        attempt=1,
        reason="Completed",
        message="160 steps",
        started_at=ago(hours=2),
        finished_at=ago(hours=1),
        **fields,
    )


def condition(kind: str, reason: str, message: str, holds: bool = True) -> Condition:
    status = "True" if holds else "False"
    return Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=ago(minutes=4))


LAST_LINES = (
    "(_Host pid=211) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79.10 GiB",
    "ERROR learner 1 of 2 died",
)
ACCEPTED = condition("Accepted", "Valid", "the spec is valid")
PROBE = StageStatus(
    kind=StageKind.PROBE,
    state=StageState.RUNNING,
    attempt=2,
    charged_attempts=1,
    started_at=ago(hours=2),
    heartbeat_at=ago(seconds=4),
    previous=EndedAttempt(attempt=1, reason="HeadLost", message="the Pod with its driver is gone"),
    progress=Progress(
        updated_at=NOW.timestamp(),
        step=120,
        steps=168,
        message="training",
        reward_mean=0.5612,
        reward_curve=CURVE,
        tokens_per_second=21034.4,
        eta_seconds=33120,
        checkpoint_step=110,
        ledger=Ledger(device_seconds=44460),
    ),
)


def running() -> dict[str, Any]:
    going = condition("Progressing", "StagesRunning", "running: probe (attempt 2)")
    return manifest(
        Status(
            phase=Phase.RUNNING,
            observed_generation=1,
            conditions=(ACCEPTED, going),
            stages=stages(probe=PROBE),
            device_hours=12.35,
        )
    )


def guarded() -> dict[str, Any]:
    """The stage is as a guard leaves it; the conditions are the planner's own words."""
    message = (
        "the mean KL from the reference was above guards.kl.above = 0.3 nats per token at steps 118 to 120, 0.52 in "
        "the last; the last good checkpoint is that of step 110"
    )
    tripped = Tripped(guard="kl", action=Action.SUSPEND, settings='{"above":0.3}')
    stopped = PROBE.model_copy(
        update={"state": StageState.PENDING, "reason": "KLAboveBound", "message": message, "tripped": tripped}
    )
    said = next(trips({"probe": stopped}, Limits(), broke=False))
    holds = condition("Suspended", "Guarded", "nothing is running, because of guards.kl of probe; see Guarded")
    return manifest(
        Status(
            phase=Phase.SUSPENDED,
            observed_generation=1,
            conditions=(ACCEPTED, condition("Guarded", *said), holds),
            stages=stages(probe=stopped),
            device_hours=12.35,
        )
    )


def suspended() -> dict[str, Any]:
    stopped = PROBE.model_copy(
        update={"state": StageState.PENDING, "reason": "Suspended", "message": "stopped after step 120 of 168"}
    )
    waits = condition("Suspended", "Suspended", "nothing runs; set schedule.suspend to false to go on")
    return manifest(
        Status(
            phase=Phase.SUSPENDED,
            observed_generation=1,
            conditions=(ACCEPTED, waits),
            stages=stages(probe=stopped),
            device_hours=12.35,
        )
    )


def failed() -> dict[str, Any]:
    words = "learner 1 of 2 died (ActorDiedError: The actor died because its node has died)"
    training = StageStatus(
        kind=StageKind.TRAINING,
        state=StageState.FAILED,
        attempt=3,
        charged_attempts=3,
        started_at=ago(minutes=30),
        finished_at=ago(minutes=4),
        reason="ProcessLost",
        message=words,
        last_lines=LAST_LINES,
        progress=Progress(updated_at=0, step=12, steps=160, reward_mean=0.31, reward_curve=CURVE[:12]),
    )
    blocked = {"state": StageState.BLOCKED, "reason": "NeedsFailedStage", "message": "it needs train-lim-s1"}
    message = (
        f"train-lim-s1 failed after 3 attempts (ProcessLost): {words}; read the stage's log, mend the cause and run "
        "the failed stage afresh\n\nThe last lines of train-lim-s1:\n" + "\n".join(f"| {line}" for line in LAST_LINES)
    )
    return manifest(
        Status(
            phase=Phase.FAILED,
            observed_generation=1,
            conditions=(ACCEPTED, condition("Failed", "StageFailed", message)),
            stages=stages(
                probe=succeeded(StageKind.PROBE, progress=Progress(updated_at=0, step=168, steps=168, reward_mean=0.7)),
                select_lim=succeeded(StageKind.SELECTION, selected=Selected(prompts=1389, of=8523)),
                select_random=succeeded(StageKind.SELECTION, selected=Selected(prompts=1389, of=8523)),
                train_lim_s1=training,
                train_random_s1=succeeded(
                    StageKind.TRAINING, progress=Progress(updated_at=0, step=160, steps=160, reward_mean=0.682)
                ),
                evaluate=StageStatus(kind=StageKind.EVALUATION, **blocked),
                report=StageStatus(kind=StageKind.REPORT, **{**blocked, "message": "it needs evaluate"}),
            ),
            device_hours=31.5,
        )
    )


WARNINGS = [
    {
        "reason": "StageWillRetry",
        "message": "train-lim-s1, attempt 2: ProcessLost: learner 1 of 2 died",
        "eventTime": "2026-01-02T02:30:59.123456Z",
        "metadata": {},
    },
    {
        "reason": "StageFailed",
        "message": "train-lim-s1, attempt 3: ProcessLost: learner 1 of 2 died (ActorDiedError: The actor died because "
        "its node has died)\n| ERROR learner 1 of 2 died",
        "eventTime": "2026-01-02T02:55:59.123456Z",
        "metadata": {},
    },
]

RESULTS = (
    ArmResult(name="base", benchmarks={"math500": Interval(mean=0.312, low=0.271, high=0.356)}),
    ArmResult(
        name="lim",
        prompts=1389,
        benchmarks={"math500": Interval(mean=0.55, low=0.501, high=0.598)},
        device_hours=9.1,
    ),
    ArmResult(
        name="random",
        prompts=1389,
        benchmarks={"math500": Interval(mean=0.493, low=0.444, high=0.541)},
        device_hours=9.4,
    ),
)


def complete() -> dict[str, Any]:
    done = {
        name: succeeded(StageKind.TRAINING, progress=Progress(updated_at=0, step=160, steps=160, reward_mean=reward))
        for name, reward in (("train_lim_s1", 0.721), ("train_random_s1", 0.682))
    }
    end = condition("Complete", "AllStagesSucceeded", "all 7 stages succeeded; see the report")
    return manifest(
        Status(
            phase=Phase.COMPLETE,
            observed_generation=1,
            conditions=(ACCEPTED, end),
            stages=stages(
                probe=succeeded(StageKind.PROBE, progress=Progress(updated_at=0, step=168, steps=168, reward_mean=0.7)),
                select_lim=succeeded(StageKind.SELECTION, selected=Selected(prompts=1389, of=8523)),
                select_random=succeeded(StageKind.SELECTION, selected=Selected(prompts=1389, of=8523)),
                **done,
                evaluate=succeeded(StageKind.EVALUATION, progress=Progress(updated_at=0, step=3, steps=3)),
                report=succeeded(StageKind.REPORT),
            ),
            device_hours=41.06,
            results=RESULTS,
        )
    )
