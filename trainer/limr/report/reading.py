"""Reads what the stages left in the store. A stage that did not run, or whose output is not there, is simply absent."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from limr.report.schema import Artifact, BenchmarkFacts
from limr.report.sources import Evaluation, Model, Scores, Selection, Sources, Steps
from limr.stage import Ledger, StageInput, StageKind, StageRef
from limr.store import manifest, read_uri


def read(stage_input: StageInput) -> Sources:
    """Raises LimrError when a file that a stage named cannot be read."""
    return _Reader(stage_input).sources()


class _Reader:
    def __init__(self, stage_input: StageInput) -> None:
        self._experiment = stage_input.experiment
        self._inputs = stage_input.inputs

    def sources(self) -> Sources:
        spec = self._experiment.spec
        selections = {arm.name: self._selection(f"select-{arm.name}") for arm in spec.arms}
        trainings = [
            self._steps(StageRef(name=f"train-{arm.name}-s{seed}", kind=StageKind.TRAINING, arm=arm.name, seed=seed))
            for arm in spec.arms
            for seed in arm.seeds
        ]
        return Sources(
            experiment=self._experiment,
            probe=self._steps(StageRef(name="probe", kind=StageKind.PROBE, seed=spec.seed)),
            selections={arm: selection for arm, selection in selections.items() if selection is not None},
            trainings=[steps for steps in trainings if steps is not None],
            evaluation=self._evaluation(),
            artifacts=[
                Artifact(stage=stage, output=name, uri=output.uri, digest=output.digest)
                for stage, outputs in self._inputs.items()
                for name, output in outputs.items()
            ],
        )

    def _bytes(self, stage: str, output: str) -> bytes | None:
        found = self._inputs.get(stage, {}).get(output)
        return read_uri(found.uri, self._experiment.spec.storage.endpoint) if found else None

    def _steps(self, stage: StageRef) -> Steps | None:
        data = self._bytes(stage.name, "manifest")
        if data is None:
            return None
        done = manifest.parse(data, self._inputs[stage.name]["manifest"].uri)
        metrics = [{**step.metrics, "step": step.step, "epoch": step.epoch} for step in done.steps]
        return Steps(stage, done.attempt, metrics, done.ledger)

    def _selection(self, stage: str) -> Selection | None:
        summary = self._bytes(stage, "summary")
        if summary is None:
            return None
        scores = self._bytes(stage, "scores")
        # Where the strategy draws, each seed has a subset of its own; the first one is shown.
        subset = next((name for name in self._inputs[stage] if name.startswith("subset")), "subset")
        kept = self._bytes(stage, subset) if scores else None
        return Selection(json.loads(summary), _scores(scores, kept) if scores and kept else None)

    def _evaluation(self) -> Evaluation | None:
        data = self._bytes("evaluate", "results")
        return evaluation(data) if data is not None else None


def evaluation(data: bytes) -> Evaluation:
    """From the bytes of the Evaluation stage's output "results"."""
    document = json.loads(data)
    models = document["models"]
    benchmarks = models[0]["benchmarks"]
    return Evaluation(
        benchmarks=[
            BenchmarkFacts(name=name, **{key: answered[key] for key in ("questions", "samples", "temperature")})
            for name, answered in benchmarks.items()
        ],
        questions={name: answered["question_ids"] for name, answered in benchmarks.items()},
        models=[_model(model) for model in models],
        ledger=Ledger.model_validate(document["ledger"]) if "ledger" in document else None,
    )


def _model(model: Mapping[str, Any]) -> Model:
    accuracy = {
        name: np.array([sum(samples) / len(samples) for samples in answered["correct"]])
        for name, answered in model["benchmarks"].items()
    }
    return Model(model["arm"], model["seed"], accuracy)


def prompt_ids(subset: bytes) -> set[str]:
    """Those of a selection's output "subset"."""
    return set(pq.read_table(io.BytesIO(subset), columns=["prompt_id"])["prompt_id"].to_pylist())


def _scores(scores: bytes, subset: bytes) -> Scores:
    table = pq.read_table(io.BytesIO(scores))
    kept = prompt_ids(subset)
    ids = table["prompt_id"].to_pylist()
    return Scores(
        ids=ids,
        prompts=table["prompt"].to_pylist(),
        scores=table["score"].to_numpy(),
        selected=np.array([name in kept for name in ids]),
        accuracy=np.array(table["accuracy"].to_pylist(), np.float64) if "accuracy" in table.column_names else None,
    )
