"""What one stage's process is given, what it says while it works, and what it must hand back.

The same three documents serve `limr run` (files in the work directory) and the cluster (a mounted file and one
ConfigMap), so a stage cannot tell where it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from limr.spec import Action, Experiment, Guard

METRICS_PORT = 9464  # of stages on a cluster
STOP_SECONDS = 60  # in which a stage that is asked to stop has kept what is done


class StageKind(StrEnum):
    PREFLIGHT = "Preflight"
    PROBE = "Probe"
    SELECTION = "Selection"
    TRAINING = "Training"
    EVALUATION = "Evaluation"
    REPORT = "Report"


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"  # stopped on request, after a checkpoint; the attempt is not charged
    GUARDED = "Guarded"  # ended by one of spec.guards, which `StageResult.tripped` names


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
    """One thing that a stage made."""

    uri: str = Field(description="Where it is.")
    digest: str = Field(description="sha256:<hex> of its bytes; of the manifest's, for a folder.")


class Ledger(Document):
    """What a stage cost. Device-seconds: wall seconds × devices held (GPUs; without GPUs, trainer processes)."""

    rollouts: int = Field(0, description="Responses sampled.")
    prompt_tokens: int = Field(0, description="Tokens of the prompts, once for each response.")
    response_tokens: int = Field(0, description="Tokens of the responses.")
    device_seconds: float = Field(0.0, description="Wall seconds times the devices held.")

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            rollouts=self.rollouts + other.rollouts,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            response_tokens=self.response_tokens + other.response_tokens,
            device_seconds=self.device_seconds + other.device_seconds,
        )


class StageRef(Document):
    """A node of the experiment's graph. Names are unique: preflight, probe, select-lim, train-lim-s1, evaluate…"""

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
    """Where a stage stands. Written at least every few seconds while its processes answer: the heartbeat."""

    updated_at: float = Field(description="When the stage said so, in seconds since 1970.")
    step: int = Field(0, description="Steps done.")
    steps: int = Field(0, description="Steps in all; 0 while unknown.")
    message: str = Field("", description="What it is doing: the part of a step, or of the start.")
    part_done: int = Field(0, description="Units of that part that are done: responses, updates.")
    part_size: int = Field(0, description="Units of that part in all; 0 while unknown.")
    reward_mean: float | None = Field(None, description="Mean reward of the last step's responses.")
    reward_curve: tuple[float, ...] = Field(
        (), max_length=40, description="Mean rewards of all steps so far; of 2, 4, 8 … steps each, to be 40 at most."
    )
    tokens_per_second: float | None = Field(None, description="Response tokens per second in the last step.")
    eta_seconds: float | None = Field(None, description="Seconds that are left at this speed.")
    checkpoint_step: int | None = Field(None, description="Step of the last checkpoint, where a next attempt goes on.")
    ledger: Ledger = Field(Ledger(), description="Cost of this attempt so far.")

    @property
    def doing(self) -> str:
        """What it is doing and how far it is with that."""
        return f"{self.message} {self.part_done:,}/{self.part_size:,}" if self.part_size else self.message


class Interval(Document):
    """A mean and its 95 % confidence interval."""

    mean: float = Field(description="The mean.")
    low: float = Field(description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")


class ArmResult(Document):
    """One line of the results table: the base model or an arm."""

    name: str = Field(description="base, or the arm's name.")
    prompts: int | None = Field(None, description="How many it was trained on; absent for the base model.")
    benchmarks: Mapping[str, Interval] = Field(
        {}, description="Accuracy from 0 to 1 by benchmark, and their average where there are several."
    )
    device_hours: float | None = Field(None, description="What this arm cost.")


class Selected(Document):
    """How many prompts a selection kept."""

    prompts: int = Field(description="Prompts selected, for each seed.")
    of: int = Field(description="Prompts to choose from.")


def good_checkpoint(step: int | None) -> str:
    """Where a stage goes on that a guard has ended: `step` is that of its last checkpoint, if it has one."""
    return f"the last good checkpoint is that of step {step}" if step else "there is no good checkpoint yet"


class Tripped(Document):
    """The guard that ended an attempt."""

    guard: str = Field(description="Its field in spec.guards.")
    action: Action = Field(description="What it did: Suspend or Stop.")
    settings: str = Field(description="The guard as it stood in the spec; when it is changed there, the stage goes on.")

    @classmethod
    def by(cls, name: str, guard: Guard) -> Tripped:
        # Without defaults, so that a field which a later version adds is not taken for a change.
        settings = guard.model_dump_json(by_alias=True, exclude_defaults=True)
        return cls(guard=name, action=guard.action, settings=settings)


class StageResult(Document):
    outcome: Outcome
    reason: str  # CamelCase, for conditions: Completed, Suspended, EngineLost, BadInput, …
    message: str  # a sentence for a person
    outputs: Mapping[str, Output] = {}
    ledger: Ledger = Ledger()  # of this attempt
    tripped: Tripped | None = None  # with Outcome.GUARDED
    selected: Selected | None = None  # by Selection stages only
    results: tuple[ArmResult, ...] = ()  # by the Report stage only
    last_lines: tuple[str, ...] = ()  # of its log, when it has failed: limr.log_lines.bounded


class Reporter(Protocol):
    """How a stage speaks to whoever started it."""

    def progress(self, progress: Progress) -> None: ...

    def step(self, metrics: Mapping[str, float], responses: Mapping[str, Collection[float]]) -> None:
        """A step ended: its metrics, and what was measured of each of its responses."""
        ...

    def beat(self) -> None:
        """Says that the stage lives though nothing has changed. Called from another thread."""
        ...

    def stop_requested(self) -> bool:
        """True once the stage should keep what is done and return Outcome.SUSPENDED, within a minute."""
        ...
