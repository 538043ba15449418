"""A whole run whose learners become fewer and more, and whose ZeRO stage changes, with kills between."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from runs import Run

from limr.store.base import NotFound
from limr.store.manifest import Manifest

pytestmark = [pytest.mark.integration, pytest.mark.nightly, pytest.mark.timeout(2400)]

# 192 responses and updates of 96 divide by 1, 2 and 3 learners.
PPO = {"promptsPerStep": 48, "trainBatchSize": 96, "microBatchSize": 32}
LOSSES = ("policy_loss", "value_loss", "kl", "entropy", "reward_mean")
MEASURED = ["mean_logprob", "ratio_mean", "ratio_max"]  # of the rows: the others must be the same
CHECKPOINT_SECONDS = 600.0


def _run(folder: Path) -> Run:
    run = Run(folder)
    run.change(ppo=PPO, checkpoint={"everySteps": 2}, evaluation={"everySteps": None})
    return run


def _kill_after_checkpoint(run: Run, step: int) -> None:
    process = run.start()
    end = time.monotonic() + CHECKPOINT_SECONDS
    while not (manifest := _probe(run)) or not manifest.checkpoints or manifest.checkpoints[-1].step < step:
        assert process.poll() is None, (run.folder / "log").read_text()
        assert time.monotonic() < end
        time.sleep(0.2)
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in reversed(family):
        if member.is_running():
            member.kill()
    process.wait(60)


def _probe(run: Run) -> Manifest | None:
    try:
        return run.manifest("probe")
    except NotFound:
        return None


def test_learners_and_zero_stage_may_change_between_kills(tmp_path: Path) -> None:
    expected = _run(tmp_path / "undisturbed")
    expected.finish(expected.start())
    run = _run(tmp_path / "changed")
    for learners, zero, step in ((2, 2, 2), (1, 2, 6)):
        run.change(cluster={"learner": {"replicas": learners}}, ppo={"zeroStage": zero})
        _kill_after_checkpoint(run, step)
    run.change(cluster={"learner": {"replicas": 3}}, ppo={"zeroStage": 3})
    run.finish(run.start())
    for want, got in zip(expected.manifest("probe").steps, run.manifest("probe").steps, strict=True):
        for name in LOSSES:
            assert got.metrics[name] == pytest.approx(want.metrics[name], rel=1e-5, abs=1e-5), (want.step, name)
    want_rows, got_rows = (_without_measured(of.rows()[0]) for of in (expected, run))
    assert got_rows.equals(want_rows)
    assert {record.attempt for record in run.manifest("probe").steps} == {1, 2, 3}


def _without_measured(rows: pa.Table) -> pa.Table:
    return rows.drop_columns(MEASURED)
