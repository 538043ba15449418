"""A small experiment whose stages are fakes, run by `limr run` in this process or in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import local_fakes
import yaml

from limr.local.command import execute
from limr.plan import Status

SECONDS = 60.0


class Lab:
    """An experiment in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "experiment.yaml"
        self.root = folder / "runs" / "default" / "demo"
        spec = {
            "model": {"uri": "some/model"},
            "dataset": {"uri": "d.json"},
            "selection": {"scoresFrom": "d.json"},
            "training": {"steps": 1},
            "limits": {"attempts": 1},
        }
        head = {"apiVersion": "limr.dev/v1alpha1", "kind": "LIMRExperiment", "metadata": {"name": "demo"}}
        self.file.write_text(yaml.safe_dump({**head, "spec": spec}))
        (folder / "d.json").write_text('[{"prompt": "1+1=", "answer": "2"}]')

    def behave(self, **stages: dict[str, object]) -> None:
        told = {name.replace("_", "-"): how for name, how in stages.items()}
        (self.folder / "behaviour.json").write_text(json.dumps(told))

    def run(self, *settings: str) -> int:
        return execute(self.file, self.folder, settings, local_fakes.STAGE_COMMAND, local_fakes.NoEngines)

    def start(self) -> subprocess.Popen[str]:
        """`limr run` in a process of its own."""
        command = [sys.executable, local_fakes.__file__, "run", str(self.file)]
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def status(self) -> Status:
        return Status.model_validate_json((self.root / "status.json").read_text())

    def attempts(self) -> dict[str, int]:
        return {name: stage.attempt for name, stage in self.status().stages.items()}

    def steps(self, stage: str) -> list[str]:
        file = self.root / stage / "steps"
        return file.read_text().splitlines() if file.exists() else []

    def until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not happened():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)


def processes_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0") if entry.name.isdigit() else []
        except OSError:  # it has just ended
            continue
        if any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found
