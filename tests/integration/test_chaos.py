"""Whatever is killed, whenever: running again ends with the same weights and the same rows, each exactly once.

`make test` kills four times in one run; `make chaos` goes on for `--kills` kills, run after run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from runs import RUN_SECONDS, Run

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(7200)]

KILLS_PER_RUN = 4


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


def kill_one(process: subprocess.Popen[bytes], role: str, deadline: float) -> bool:
    """SIGKILLs a process of that role as soon as there is one; False when the run ended before."""
    while time.monotonic() < deadline and process.poll() is None:
        victims = roles(psutil.Process(process.pid))[role]
        if victims:
            victims[0].send_signal(signal.SIGKILL)
            return True
        time.sleep(0.1)
    return False


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
        run.assert_equals(expected)
