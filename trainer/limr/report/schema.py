"""The structure of `report/results.json`, and all that the page shows: the page is drawn from this document alone.

Names are in snake_case. `null` means "not known" or "does not apply", never zero. Accuracies are shares in [0, 1],
intervals hold 95 % (see `limr.statistics`), times are in hours or seconds as the name says. The number in `version`
grows when a field changes its meaning or goes away; readers of version 1 may rely on every field below.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from limr.stage import Interval, Ledger, StageKind

AVERAGE = "average"  # stands for all benchmarks together: the unweighted mean of their accuracies


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Group(StrEnum):
    """What became of a prompt over the probe's epochs."""

    NEVER = "never solved"
    ALWAYS = "always solved"
    LEARNED = "learned"
    OTHER = "in between"


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    OPEN = "open"  # the interval holds zero


class BenchmarkFacts(Part):
    name: str
    questions: int
    samples: int = Field(description="Responses per question.")
    temperature: float


class Row(Part):
    """One line of the results table: the base model, or an arm with all its seeds."""

    name: str
    strategy: str | None = Field(description="How its prompts were chosen; null for the base model.")
    prompts: int | None = Field(description="Prompts it was trained on.")
    seeds: list[int] = Field(description="One training each; empty for the base model.")
    benchmarks: dict[str, Interval]
    average: Interval | None = Field(description="Over all benchmarks; null with fewer than two.")
    covers_seeds: bool = Field(description="Whether the intervals include what another training seed would give.")
    rollouts: int | None = Field(description="Of one training: the mean over seeds.")
    device_hours: float | None = Field(description="Of one training: the mean over seeds.")
    uses_probe: bool = Field(description="Whether its prompts could only be chosen after the probe.")
    rollouts_with_probe: int | None = Field(description="One training and the probe it needs; null: unknown.")
    device_hours_with_probe: float | None


class Difference(Part):
    """pass@1 of `first` minus pass@1 of `second`, paired by question."""

    first: str
    second: str
    benchmark: str
    interval: Interval
    covers_seeds: bool
    verdict: Verdict
    words: str


class Curve(Part):
    prompt_id: str
    group: Group
    accuracy: list[float | None] = Field(description="By epoch; null where the prompt was not seen.")


class ProbeFacts(Part):
    epochs: int
    prompts: int = Field(description="Prompts with a complete curve.")
    average: list[float | None] = Field(description="Mean accuracy of all prompts, by epoch.")
    groups: dict[Group, int]
    curves: list[Curve] = Field(description="A random part of the prompts.")


class Histogram(Part):
    edges: list[float] = Field(description="One more than there are bins; the first bin also holds all lower scores.")
    kept: list[int] = Field(description="Selected prompts in each bin.")
    left: list[int] = Field(description="The others.")
    below: int = Field(description="How many scores of the first bin lie below its edge.")


class Example(Part):
    prompt: str
    score: float
    selected: bool
    group: Group | None
    accuracy: list[float | None]


class SelectionFacts(Part):
    arm: str
    strategy: str
    reading: str | None = Field(description="Of LIM's formula; null for other strategies.")
    threshold: float | None
    prompts: int | None = Field(description="In the dataset or in the scores given.")
    scored: int | None
    dropped: int | None = Field(description="Without a score, because epochs are missing.")
    selected: int | None
    never_solved_selected: int | None
    always_solved_selected: int | None
    stability: float | None = Field(
        description="Jaccard index of the subset with the one that the probe would have given an epoch earlier."
    )
    warnings: list[str]
    histogram: Histogram | None
    examples: list[Example]


class StageFacts(Part):
    name: str
    kind: StageKind
    arm: str | None
    seed: int | None
    attempts: int | None = Field(description="Tries until it was finished.")
    steps: int | None
    ledger: Ledger | None
    series: dict[str, list[float | None]] = Field(description="Metrics by finished step; `step` and `rollouts` too.")
    seconds: dict[str, float] = Field(description="Mean seconds of a step, by part.")


class Artifact(Part):
    stage: str
    output: str
    uri: str
    digest: str


class Provenance(Part):
    model: str
    dataset: str
    artifacts: list[Artifact]
    versions: dict[str, str]


class Results(Part):
    version: Literal[1] = 1
    name: str
    namespace: str
    headline: str
    problems: list[str] = Field(
        [], description="What went wrong in training, in sentences; the headline is then the first of them."
    )
    findings: list[str] = Field(description="What was found, in sentences.")
    table: list[Row]
    differences: list[Difference]
    benchmarks: list[BenchmarkFacts]
    probe: ProbeFacts | None
    selections: list[SelectionFacts]
    stages: list[StageFacts]
    warnings: list[str]
    spec: dict[str, Any] = Field(description="The experiment's spec with all defaults, as in its file.")
    provenance: Provenance

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=1).encode()
