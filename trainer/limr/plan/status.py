"""The status of an experiment: the resource's `.status` on a cluster, status.json beside the results on a laptop."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime

from limr.stage import ArmResult, Document, Ledger, Output, Progress, StageKind


class Phase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


class StageState(StrEnum):
    PENDING = "Pending"  # waits for what it needs, for its next try, or for the end of a suspension
    BLOCKED = "Blocked"  # something it needs has failed
    STARTING = "Starting"  # its child should exist and was not seen yet
    QUEUED = "Queued"  # its child exists and has not begun
    RUNNING = "Running"
    STOPPING = "Stopping"  # asked to stop at a checkpoint; not taken back
    TERMINATING = "Terminating"  # its child is being removed; `reason` says why
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"  # no further try


ACTIVE = frozenset(
    {StageState.STARTING, StageState.QUEUED, StageState.RUNNING, StageState.STOPPING, StageState.TERMINATING}
)


class StageStatus(Document):
    kind: StageKind
    state: StageState = StageState.PENDING
    attempt: int = 0  # the latest; 0 before the first
    charged_attempts: int = 0  # those that count against limits.attempts
    started_at: AwareDatetime | None = None  # of the latest attempt, once it has begun
    heartbeat_at: AwareDatetime | None = None  # when its progress was last seen to change, by the planner's clock
    finished_at: AwareDatetime | None = None
    retry_at: AwareDatetime | None = None
    reason: str = ""
    message: str = ""
    progress: Progress | None = None  # of the latest attempt
    outputs: Mapping[str, Output] = {}
    ledger: Ledger = Ledger()  # of all attempts that have ended


class Condition(Document):
    """As Kubernetes writes conditions; `message` says what to do."""

    type: str
    status: Literal["True", "False"]
    reason: str
    message: str
    last_transition_time: AwareDatetime
    observed_generation: int = 0


class Status(Document):
    phase: Phase = Phase.PENDING
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    stages: Mapping[str, StageStatus] = {}
    device_hours: float = 0.0
    results: tuple[ArmResult, ...] = ()  # filled by the report
