"""Stages that finish in moments, run as real processes: `local_fakes.py stage INPUT` and `local_fakes.py run FILE`.

What they do is read from behaviour.json beside the dataset:
{"<stage>": {"steps": 3, "seconds": 0.01, "says": "hello", "at": 2, "end": "crash"}}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from limr.errors import LimrError
from limr.local.command import execute
from limr.local.folder import RunFolder
from limr.stage import Ledger, Outcome, Output, Progress, Reporter, StageInput, StageKind, StageResult
from limr.stage_main import main as stage_main
from limr.store.base import NotFound, Store, StoreError

STAGE_COMMAND = (sys.executable, __file__, "stage")
HANDLERS = {
    StageKind.PREFLIGHT: "local_fakes:preflight",
    StageKind.PROBE: "local_fakes:engine",
    StageKind.TRAINING: "local_fakes:engine",
    StageKind.EVALUATION: "local_fakes:engine",
    StageKind.SELECTION: "local_fakes:selection",
    StageKind.REPORT: "local_fakes:report",
}


class NoEngines:
    alive = True

    def __init__(self, folder: RunFolder | None = None) -> None:
        pass

    def environment(self) -> dict[str, str]:
        return {}

    def stop(self) -> None:
        pass


def behaviour(stage_input: StageInput) -> dict[str, Any]:
    file = Path(stage_input.experiment.spec.dataset.uri).with_name("behaviour.json")
    told = json.loads(file.read_text()) if file.exists() else {}
    chosen: dict[str, Any] = told.get(stage_input.stage.name, {})
    return chosen


def engine(stage_input: StageInput, store: Store, reporter: Reporter) -> StageResult:
    """Counts its steps, with a checkpoint after each, and writes down which attempt did which."""
    name, told = stage_input.stage.name, behaviour(stage_input)
    steps, ledger = told.get("steps", 2), Ledger()
    print(told.get("says", ""))
    done = _lines(store, f"{name}/steps")
    for step in range(len(done) + 1, steps + 1):
        time.sleep(told.get("seconds", 0.0))
        done.append(f"{step} attempt {stage_input.attempt}")
        store.put(f"{name}/steps", "\n".join(done).encode())
        ledger += Ledger(device_seconds=1)
        reporter.progress(Progress(updated_at=time.time(), step=step, steps=steps, reward_mean=0.5, ledger=ledger))
        if step == told.get("at"):
            _end(told["end"])
        if reporter.stop_requested():
            return StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message=f"after step {step}")
    output = Output(uri=f"{store.uri}/{name}/steps", digest="sha256:00")
    return StageResult(
        outcome=Outcome.SUCCEEDED, reason="Completed", message="", outputs={"steps": output}, ledger=ledger
    )


def _lines(store: Store, path: str) -> list[str]:
    try:
        return store.get(path).decode().splitlines()
    except NotFound:
        return []


def _end(how: str) -> None:
    match how:
        case "crash":
            raise ZeroDivisionError("a defect")
        case "bad input":
            raise LimrError("d.json: row 3 has no answer")
        case "store":
            raise StoreError("s3://b: unreachable")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)


def preflight(stage_input: StageInput, store: Store) -> dict[str, Output]:
    if end := behaviour(stage_input).get("end"):
        _end(end)
    return {}


def selection(stage_input: StageInput, store: Store) -> dict[str, Output]:
    time.sleep(behaviour(stage_input).get("seconds", 0.0))
    summary = {"selected": 1389, "prompts": 8523, "dropped_because": {"not_in_dataset": 0}}
    store.put(f"{stage_input.stage.name}/summary.json", json.dumps(summary).encode())
    return {"subset": Output(uri=f"{store.uri}/subset", digest="sha256:00")}


def report(stage_input: StageInput, store: Store) -> dict[str, Output]:
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    row = {"name": "lim", "prompts": 1389, "benchmarks": {"sums": interval}, "average": None, "device_hours": 0.25}
    base = {**row, "name": "base", "prompts": None, "device_hours": None, "strategy": None}
    store.put(f"{stage_input.stage.name}/results.json", json.dumps({"version": 1, "table": [base, row]}).encode())
    return {}


if __name__ == "__main__":
    if sys.argv[1] == "stage":
        sys.exit(stage_main(sys.argv[2:], HANDLERS))
    try:
        sys.exit(execute(Path(sys.argv[2]), Path("."), tuple(sys.argv[3:]), STAGE_COMMAND, NoEngines))
    except LimrError as error:
        click.echo(f"limr: {error}", err=True)
        sys.exit(1)
