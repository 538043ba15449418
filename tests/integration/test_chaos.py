"""Whatever is killed, whenever: running again ends with the same weights and the same rows, each exactly once.

`make test` kills four times in one run; `make chaos` goes on for `--kills` kills, run after run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import yaml
from engines import ARITHMETIC, MODEL

from limr.store import open_store
from limr.store.manifest import read_manifest
from limr.store.trajectories import iter_steps

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(7200)]

STAGES = ("probe", "train-rest-s1")
KILLS_PER_RUN = 4
RUN_SECONDS = 900

EXPERIMENT = {
    "apiVersion": "limr.dev/v1alpha1",
    "kind": "LIMRExperiment",
    "metadata": {"name": "chaos"},
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
        "limits": {"attempts": 20},
    },
}


def roles(root: psutil.Process) -> dict[str, list[psutil.Process]]:
    """The processes of a run by what they do: driver, stage, learner, engine."""
    found: dict[str, list[psutil.Process]] = {"driver": [root], "stage": [], "learner": [], "engine": []}
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
    """`limr run` of the experiment in a folder of its own, which can be killed and run again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "experiment.yaml").write_text(yaml.safe_dump(EXPERIMENT))

    def start(self) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        command = [sys.executable, "-m", "limr", "run", "experiment.yaml"]
        return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait(RUN_SECONDS)
        assert code == 0, (self.folder / "log").read_text()

    def weights(self) -> list[bytes]:
        return [
            (Path(read_manifest(self._store(), stage).outputs["model"].uri) / "model.safetensors").read_bytes()
            for stage in STAGES
        ]

    def rows(self) -> list[pa.Table]:
        """All trajectory rows that the manifests name, without the one column that may differ: the attempt."""
        return [
            pa.concat_tables(iter_steps(self._store(), stage, read_manifest(self._store(), stage), verify=True))
            .drop_columns(["attempt"])
            .unify_dictionaries()
            for stage in STAGES
        ]

    def _store(self):  # type: ignore[no-untyped-def]
        return open_store(str(self.folder / "runs" / "default" / "chaos"))


def kill_one(process: subprocess.Popen[bytes], role: str, deadline: float) -> bool:
    """SIGKILLs a process of that role as soon as there is one; False when the run ended before."""
    while time.monotonic() < deadline and process.poll() is None:
        victims = roles(psutil.Process(process.pid))[role]
        if victims:
            victims[0].send_signal(signal.SIGKILL)
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, float]]:
    """A run that nobody disturbs, and how many seconds it took."""
    run = Run(tmp_path_factory.mktemp("chaos") / "undisturbed")
    started = time.monotonic()
    run.finish(run.start())
    yield run, time.monotonic() - started


def test_kills_at_random_moments_change_nothing(
    undisturbed: tuple[Run, float], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected, seconds = undisturbed
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1_000_000))
    rng = random.Random(seed)
    print(f"CHAOS_SEED={seed}")
    wanted, killed, round_number = request.config.getoption("--kills"), 0, 0
    while killed < wanted:
        round_number += 1
        run = Run(tmp_path / f"round-{round_number}")
        process = run.start()
        victims = rng.sample(["driver", "stage", "learner", "engine"], k=min(KILLS_PER_RUN, wanted - killed))
        for role in victims:
            time.sleep(rng.uniform(0, seconds * 0.6))
            if kill_one(process, role, time.monotonic() + RUN_SECONDS):
                killed += 1
                print(f"round {round_number}: killed a {role}")
            if process.poll() is not None or role == "driver":
                process.wait(RUN_SECONDS)
                process = run.start()
        run.finish(process)
        assert run.weights() == expected.weights()
        for got, want in zip(run.rows(), expected.rows(), strict=True):
            assert got.equals(want)
            assert got.group_by(["step", "prompt_id", "sample"]).aggregate([]).num_rows == got.num_rows


def test_a_run_that_is_done_does_nothing_again(undisturbed: tuple[Run, float]) -> None:
    run, _ = undisturbed
    status = json.loads(next(run.folder.rglob("status.json")).read_text())
    run.finish(run.start())
    again = json.loads(next(run.folder.rglob("status.json")).read_text())
    attempts = {name: stage["attempt"] for name, stage in again["stages"].items()}
    assert attempts == {name: 1 for name in status["stages"]}
