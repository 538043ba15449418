"""Whatever is killed, whenever, and however S3 fails: running again ends with the same weights and the same rows.

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
from runs import ROLES, RUN_SECONDS, STAGES, Run, roles
from servers.s3_server import FlakyS3

from limr.store.layout import REPORT

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(7200)]


def kill_one(process: subprocess.Popen[bytes], role: str, delay: float) -> bool:
    """SIGKILLs a process of that role, `delay` seconds after there is one; False when the run ended before."""
    seen_at: float | None = None
    while process.poll() is None:
        victims = roles(psutil.Process(process.pid))[role]
        seen_at = seen_at or (time.monotonic() if victims else None)
        if victims and seen_at is not None and time.monotonic() - seen_at >= delay:
            victims[0].send_signal(signal.SIGKILL)
            return True
        time.sleep(0.1)
    return False


def test_kills_at_random_moments_change_nothing(
    undisturbed: tuple[Run, float],
    flaky_s3: FlakyS3,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store is an S3 server that fails one request in ten."""
    expected, seconds = undisturbed
    monkeypatch.setenv("LIMR_MODEL_CACHE", str(tmp_path / "models"))
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1_000_000))
    rng = random.Random(seed)
    print(f"CHAOS_SEED={seed}")
    wanted, killed, rounds = request.config.getoption("--kills"), 0, 0
    while killed < wanted:
        rounds += 1
        place = {"uri": f"{flaky_s3.uri}/round-{rounds}", "endpoint": flaky_s3.endpoint}
        run = Run(tmp_path / f"round-{rounds}", place)
        process = run.start()
        for role in rng.sample(ROLES, k=min(len(ROLES), wanted - killed)):
            if kill_one(process, role, delay=rng.uniform(0, seconds / 4)):
                killed += 1
                print(f"round {rounds}: killed a {role}")
            if role == "driver":
                process.wait(RUN_SECONDS)
                process = run.start()
        run.finish(process)
        run.storage["endpoint"] = flaky_s3.direct_endpoint
        assert_equal_and_whole(run, expected)
    assert sum(flaky_s3.proxy.faults.values()) > 0


def assert_equal_and_whole(run: Run, expected: Run) -> None:
    run.assert_equals(expected)
    assert b"<html" in run.store().get(f"report/{REPORT}")
    for stage in STAGES:
        named = {f"{stage}/{path}" for path in run.manifest(stage).files()}
        assert named <= {entry.path for entry in run.store().list(stage)}
        assert run.manifest(stage).checkpoints
