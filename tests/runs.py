"""A small experiment that the integration tests run whole, by `limr run` in a folder of its own."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import yaml
from engines import ARITHMETIC, MODEL

from limr.model_files import local_model
from limr.plan import Status
from limr.store import open_store
from limr.store.base import Store
from limr.store.manifest import Manifest, read_manifest
from limr.store.trajectories import iter_steps

STAGES = ("probe", "train-rest-s1")
RUN_SECONDS = 900

EXPERIMENT: dict[str, Any] = {
    "apiVersion": "limr.dev/v1alpha1",
    "kind": "LIMRExperiment",
    "metadata": {"name": "small"},
    "spec": {
        "model": {"uri": str(MODEL), "dtype": "float32"},
        "dataset": {"uri": str(ARITHMETIC / "dataset.jsonl")},
        "ppo": {
            "promptsPerStep": 64,
            "samplesPerPrompt": 4,
            "trainBatchSize": 128,
            "microBatchSize": 64,
            "temperature": 1.0,
            "maxPromptTokens": 16,
            "maxResponseTokens": 12,
            "actorLearningRate": 1.0e-4,
            "criticLearningRate": 1.0e-3,
            "zeroStage": 1,
            "packing": False,
            "gradientCheckpointing": False,
        },
        "checkpoint": {"everySteps": 3},
        "probe": {"epochs": 2},
        "arms": [{"name": "rest", "selection": {"strategy": "random"}, "size": {"count": 64}, "steps": 4}],
        "evaluation": {
            "benchmarks": [{"name": "sums", "uri": str(ARITHMETIC / "benchmark.jsonl"), "limit": 40}],
            "everySteps": 4,
        },
        "limits": {"attempts": 20},
    },
}


ROLES = ["driver", "stage", "learner", "engine"]


def roles(root: psutil.Process) -> dict[str, list[psutil.Process]]:
    """The processes of a run by what they do: driver, stage, learner, engine."""
    found: dict[str, list[psutil.Process]] = {role: [] for role in ROLES} | {"driver": [root]}
    for process in root.children(recursive=True):
        try:
            command, environment = process.cmdline(), process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if "limr.stage_main" in command:
            found["stage"].append(process)
        elif any("_Host" in part for part in command):
            found["learner" if "DS_ACCELERATOR" in environment else "engine"].append(process)
    return found


class Run:
    """`limr run`, to be killed, run again and looked at. `storage` replaces the spec's, for S3."""

    def __init__(
        self, folder: Path, storage: dict[str, Any] | None = None, tracking: Sequence[dict[str, Any]] = ()
    ) -> None:
        self.folder = folder
        folder.mkdir()
        experiment = copy.deepcopy(EXPERIMENT)
        experiment["spec"] |= {"storage": storage or {}, "tracking": list(tracking)}
        (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
        self.storage = {"uri": str(folder / "runs"), **(storage or {})}

    def change(self, **sections: dict[str, Any]) -> None:
        """Changes fields of the spec's sections, such as ppo={"zeroStage": 3}; None removes one."""
        file = self.folder / "experiment.yaml"
        experiment = yaml.safe_load(file.read_text())
        for name, fields in sections.items():
            changed = experiment["spec"].get(name, {}) | fields
            experiment["spec"][name] = {field: value for field, value in changed.items() if value is not None}
        file.write_text(yaml.safe_dump(experiment))

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        command = [sys.executable, "-m", "limr", "run", "experiment.yaml", *options]
        return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait(RUN_SECONDS)
        assert code == 0, (self.folder / "log").read_text()

    def status(self) -> Status:
        """As `limr run` wrote it last."""
        return Status.model_validate_json(next(self.folder.rglob("status.json")).read_text())

    def attempts(self) -> dict[str, int]:
        return {name: stage.attempt for name, stage in self.status().stages.items()}

    def store(self) -> Store:
        return open_store(f"{self.storage['uri']}/default/small", self.storage.get("endpoint"))

    def manifest(self, stage: str) -> Manifest:
        return read_manifest(self.store(), stage)

    def weights(self) -> list[bytes]:
        """Of each trained model, as stored."""
        models = [self.manifest(stage).outputs["model"] for stage in STAGES]
        folders = [local_model(model.uri, self.storage.get("endpoint"), model.digest) for model in models]
        return [(Path(folder) / "model.safetensors").read_bytes() for folder in folders]

    def rows(self) -> list[pa.Table]:
        return [trajectory_rows(self.store(), stage) for stage in STAGES]

    def assert_equals(self, other: Run) -> None:
        """The same bytes of weights and the same rows, each exactly once."""
        assert self.weights() == other.weights()
        for got, want in zip(self.rows(), other.rows(), strict=True):
            assert got.equals(want)
            assert_each_once(got)


def trajectory_rows(store: Store, stage: str) -> pa.Table:
    """All rows that the stage's manifest names, without the one column that may differ: the attempt."""
    tables = iter_steps(store, stage, read_manifest(store, stage), verify=True)
    return pa.concat_tables(tables).drop_columns(["attempt"]).unify_dictionaries()


def assert_each_once(rows: pa.Table) -> None:
    assert rows.group_by(["step", "prompt_id", "sample"]).aggregate([]).num_rows == rows.num_rows > 0
