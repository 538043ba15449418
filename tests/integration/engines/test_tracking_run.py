"""A whole small experiment with trackers that write files, killed in the middle."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from runs import RUN_SECONDS, STAGES, Run
from tracking_lab import tensorboard_points, wandb_points

from limr.store.base import NotFound

pytestmark = [pytest.mark.integration, pytest.mark.nightly, pytest.mark.timeout(1800)]

TRACKING = [{"kind": "tensorboard"}, {"kind": "wandb", "mode": "offline"}]


def test_trackers_have_each_step_of_a_killed_run_once_and_change_nothing(
    undisturbed: tuple[Run, float], tmp_path: Path
) -> None:
    expected, _ = undisturbed
    run = Run(tmp_path / "run", tracking=TRACKING)
    process = run.start()
    wait_for_checkpoint(run)
    of_wandb = [child for child in psutil.Process(process.pid).children(recursive=True) if "wandb" in child.name()]
    process.kill()
    _, left = psutil.wait_procs(of_wandb, timeout=60)
    assert not left, "W&B's process ends with the stage that it works for"
    run.finish(run.start())
    run.assert_equals(expected)
    for stage in STAGES:
        wanted = [(step.step, step.metrics["reward_mean"]) for step in run.manifest(stage).steps]
        tracking = Path(run.store().uri) / stage / "tracking"
        for points in (
            tensorboard_points(tracking / "tensorboard", "reward/mean"),
            wandb_points(tracking / "wandb", "reward/mean"),
        ):
            assert [step for step, _ in points] == [step for step, _ in wanted]
            assert [value for _, value in points] == pytest.approx([value for _, value in wanted], abs=1e-6)
    said = "".join(log.read_text() for log in Path(run.store().uri).glob("logs/*.log"))
    assert "has not all steps" not in said


def wait_for_checkpoint(run: Run) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        try:
            begun = list(Path(run.store().uri).glob("probe/tracking/wandb/*/*.wandb"))
            if begun and run.manifest("probe").last_step >= 3:
                return
        except NotFound:
            pass
        time.sleep(0.1)
    raise TimeoutError((run.folder / "log").read_text())
