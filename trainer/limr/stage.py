"""What one stage's process is given, what it says while it works, and what it must hand back.

The same three documents serve `limr run` (files in the work directory) and the cluster (a mounted file and one
ConfigMap), so a stage cannot tell where it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from limr.spec import Experiment


class StageKind(StrEnum):
    PROBE = "Probe"
    SELECTION = "Selection"
    TRAINING = "Training"
    EVALUATION = "Evaluation"
    REPORT = "Report"


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"  # stopped on request, after a checkpoint; the attempt is not charged


class Document(BaseModel):
    """JSON in camelCase; unknown fields are an error, so that two versions cannot misread each other silently."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        alias_generator=lambda name: "".join(
            part.capitalize() if index else part for index, part in enumerate(name.split("_"))
        ),
    )

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_none=True)


class Output(Document):
    """One thing that a stage made. `digest` is "sha256:<hex>" of the bytes at `uri` (of the manifest, for a folder)."""

    uri: str
    digest: str


class Ledger(Document):
    """What a stage cost. Device-seconds: wall seconds × devices held (GPUs; without GPUs, trainer processes)."""

    rollouts: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    device_seconds: float = 0.0

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            rollouts=self.rollouts + other.rollouts,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            response_tokens=self.response_tokens + other.response_tokens,
            device_seconds=self.device_seconds + other.device_seconds,
        )


class StageRef(Document):
    """A node of the experiment's graph. Names are unique: probe, select-lim, train-lim-s1, evaluate, report."""

    name: str
    kind: StageKind
    arm: str | None = None
    seed: int | None = None


class StageInput(Document):
    experiment: Experiment
    stage: StageRef
    attempt: int = Field(ge=1)
    root: str  # URI of the experiment's folder in the store; the stage writes below root/<stage name>/ only
    inputs: Mapping[str, Mapping[str, Output]] = {}  # stage name -> output name -> output, of every stage it needs


class Progress(Document):
    """Where a stage stands. Written at least every few seconds: it is also the heartbeat."""

    updated_at: float  # seconds since the epoch
    step: int = 0
    steps: int = 0
    message: str = ""
    reward_mean: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    checkpoint_step: int | None = None
    ledger: Ledger = Ledger()  # of this attempt so far


class Interval(Document):
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


class ArmResult(Document):
    """One line of the results table: the base model or an arm."""

    name: str
    prompts: int | None = None  # trained on; None for the base model
    benchmarks: Mapping[str, Interval] = {}  # accuracy, from 0 to 1
    device_hours: float | None = None


class StageResult(Document):
    outcome: Outcome
    reason: str  # CamelCase, for conditions: Completed, Suspended, EngineLost, BadInput, …
    message: str  # a sentence for a person
    outputs: Mapping[str, Output] = {}
    ledger: Ledger = Ledger()  # of this attempt
    results: tuple[ArmResult, ...] = ()  # by the Report stage only


class Reporter(Protocol):
    """How a stage speaks to whoever started it."""

    def progress(self, progress: Progress) -> None: ...

    def stop_requested(self) -> bool:
        """True once the stage should checkpoint and return Outcome.SUSPENDED at the next step boundary."""
        ...
