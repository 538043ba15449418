"""The status of an experiment: the resource's `.status` on a cluster, status.json beside the results on a laptop."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from limr.stage import ArmResult, Document, Ledger, Output, Progress, Selected, StageKind, Tripped


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


# A probe, 20 arms with a selection each and 20 seeds each, an evaluation and a report are 423.
MAX_STAGES = 512


class EndedAttempt(Document):
    attempt: int = Field(description="Its number.")
    reason: str = Field(description="Why it ended, in one word.")
    message: str = Field(description="The same in a sentence.")
    last_lines: tuple[str, ...] = Field((), description="What it printed last, if it failed.")


class StageStatus(Document):
    """One stage, over all of its attempts."""

    kind: StageKind = Field(description="What the stage does.")
    state: StageState = Field(StageState.PENDING, description="Where it stands; docs/resource.md explains each state.")
    attempt: int = Field(0, description="The latest attempt; 0 before the first.")
    charged_attempts: int = Field(0, description="Attempts that count against spec.limits.attempts.")
    started_at: AwareDatetime | None = Field(None, description="When the latest attempt began to work.")
    heartbeat_at: AwareDatetime | None = Field(None, description="When its progress was last seen to change.")
    step_at: AwareDatetime | None = Field(None, description="When its step was last seen to change.")
    finished_at: AwareDatetime | None = Field(None, description="When the latest attempt ended.")
    retry_at: AwareDatetime | None = Field(None, description="When the next attempt begins at the earliest.")
    reason: str = Field("", description="Why it stands there, in one word.")
    message: str = Field("", description="The same in a sentence.")
    last_lines: tuple[str, ...] = Field((), description="What the latest attempt printed last, if it failed.")
    previous: EndedAttempt | None = Field(None, description="How the attempt before the latest ended.")
    tripped: Tripped | None = Field(None, description="The guard that ended the latest attempt.")
    progress: Progress | None = Field(None, description="What the latest attempt said last.")
    selected: Selected | None = Field(None, description="What a selection kept.")
    outputs: Mapping[str, Output] = Field({}, description="What it made, by name.")
    ledger: Ledger = Field(Ledger(), description="Cost of all attempts that have ended.")


class Condition(Document):
    """As Kubernetes writes conditions; `message` says what to do."""

    type: str = Field(description="Accepted, Progressing, Guarded, Suspended, Complete or Failed.")
    status: Literal["True", "False"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, in one word.")
    message: str = Field(description="Why, in a sentence, and what to do.")
    last_transition_time: AwareDatetime = Field(description="Since when it holds, or does not.")
    observed_generation: int = Field(0, description="The metadata.generation that it speaks of.")

    @property
    def sentence(self) -> str:
        """The message without the last lines of logs that may follow it."""
        return self.message.partition("\n\n")[0]


class Status(Document):
    phase: Phase = Field(Phase.PENDING, description="The whole in one word.")
    observed_generation: int = Field(0, description="The metadata.generation that this status follows from.")
    conditions: tuple[Condition, ...] = Field((), description="What holds and what does not, and what to do about it.")
    stages: Mapping[str, StageStatus] = Field({}, max_length=MAX_STAGES, description="Every stage, by its name.")
    device_hours: float = Field(0.0, description="What all stages cost so far.")
    results: tuple[ArmResult, ...] = Field((), description="The base model and each arm; filled by the report.")
    stage: str = Field("", description="The stage that matters most now, and how many others run.")
    progress: str = Field("", description="That stage's steps, or how many stages are done.")
    selected: str = Field("", description="Prompts kept of all; by arm where arms differ.")
    best: str = Field("", description="Best line of the results, by average accuracy.")
    spent: str = Field("", description="Device-hours with two decimals.")
    charged_attempts: int = Field(0, description="Attempts that failed, of all stages.")
    message: str = Field("", description="The most telling condition's message.")
    retried: str = Field("", description="The last request for fresh tries that was honoured: limr.dev/retry.")

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)
