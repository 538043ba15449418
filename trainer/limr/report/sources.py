"""What the stages left in the store, as plain values; nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limr.report.schema import Artifact, BenchmarkFacts
from limr.spec import Experiment
from limr.stage import Ledger, StageRef
from limr.statistics import FloatArray


@dataclass(frozen=True)
class Scores:
    """The prompts that a selection gave a score, in one order."""

    ids: Sequence[str]
    prompts: Sequence[str | None]  # None where the text is not known
    scores: FloatArray
    selected: NDArray[np.bool_]
    accuracy: FloatArray | None  # (prompts, epochs), NaN where a prompt was not seen; None when no probe ran


@dataclass(frozen=True)
class Selection:
    summary: Mapping[str, Any]
    scores: Scores | None  # None for a strategy that measures nothing


@dataclass(frozen=True)
class Steps:
    """A probe or a training: its finished steps in order, one mapping of metrics each."""

    stage: StageRef
    attempts: int
    metrics: Sequence[Mapping[str, Any]]
    ledger: Ledger


@dataclass(frozen=True)
class Model:
    """One evaluated model's share of correct samples per question, by benchmark."""

    arm: str | None  # None for the base model
    seed: int | None
    accuracy: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Evaluation:
    benchmarks: Sequence[BenchmarkFacts]
    questions: Mapping[str, Sequence[str]]  # ids in the order of the answers, by benchmark
    models: Sequence[Model]
    ledger: Ledger | None


@dataclass(frozen=True)
class Sources:
    experiment: Experiment
    probe: Steps | None
    selections: Mapping[str, Selection]  # by arm
    trainings: Sequence[Steps]
    evaluation: Evaluation | None
    artifacts: Sequence[Artifact]
