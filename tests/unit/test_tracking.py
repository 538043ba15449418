"""What trackers are told: names, identity, and each step once, by the trackers that only write files."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tracking_lab import STAGE, STEPS, TrackedStage, tensorboard_points, wandb_points, wandb_records

from limr import validate
from limr.errors import LimrError
from limr.metrics import STEP_GAUGES
from limr.stage import StageKind, StageRef
from limr.store import open_store
from limr.tracking import libraries, reporter, worker
from limr.tracking.names import NAMES, OF_THE_MOMENT, tracker_metrics
from limr.tracking.run import flat, run_of
from limr.tracking.sink import Ending, Record
from limr.tracking.worker import Worker

OFFLINE = {"kind": "wandb", "mode": "offline", "project": "math", "entity": "lab"}
TENSORBOARD = {"kind": "tensorboard"}
ALL = [(step, float(step)) for step in range(1, STEPS + 1)]


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end, also on a machine that is busy with something else."""
    monkeypatch.setattr(reporter, "CLOSE_SECONDS", 240.0)


def test_every_metric_has_a_group() -> None:
    assert STEP_GAUGES.keys() - OF_THE_MOMENT == NAMES.keys() - {"rollouts", "response_tokens"}
    assert len(set(NAMES.values())) == len(NAMES)
    measured = {"kl": 0.1, "verdict_wrong": 0.2, "eval_aime24": 0.3, "seconds_step": 4.0, "new": 5.0, "step": 6}
    assert tracker_metrics(measured) == {
        "kl/reference": 0.1,
        "verdict/wrong": 0.2,
        "eval/aime24": 0.3,
        "seconds/step": 4.0,
        "other/new": 5.0,
    }


def test_what_is_no_number_is_left_out() -> None:
    assert tracker_metrics({"kl": float("nan"), "kl_max": float("inf"), "entropy": 1.0}) == {"policy/entropy": 1.0}


def experiment(**spec: Any) -> Any:
    head = {"apiVersion": "limr.dev/v1alpha1", "kind": "LIMRExperiment", "metadata": {"name": "demo"}}
    return validate.from_manifest({**head, "spec": {"model": {"uri": "m"}, "dataset": {"uri": "d"}, **spec}})


def test_attempts_share_a_run_and_a_new_beginning_has_another(tmp_path: Path) -> None:
    stage = StageRef(name=STAGE, kind=StageKind.TRAINING, arm="lim", seed=1)
    one = run_of(experiment(), stage, open_store(str(tmp_path / "a")))
    assert one == run_of(experiment(), stage, open_store(str(tmp_path / "a")))
    assert one.id != run_of(experiment(), stage, open_store(str(tmp_path / "b"))).id
    assert (one.name, one.group, one.kind) == (f"demo/{STAGE}", "demo", "Training")
    assert {"arm": "lim", "seed": "1", "kind": "Training"}.items() <= one.tags.items()


def test_no_secret_is_in_the_settings(tmp_path: Path) -> None:
    pod = {"spec": {"containers": [{"name": "limr", "env": [{"name": "TOKEN", "value": "hush"}]}]}}
    secretive = experiment(
        cluster={"driver": {"podTemplate": pod}, "learner": {"replicas": 2}},
        storage={"uri": "s3://b/x", "credentialsSecret": "hush"},
        tracking=[{"kind": "wandb", "credentialsSecret": "hush"}],
    )
    run = run_of(secretive, StageRef(name="probe", kind=StageKind.PROBE, seed=1), open_store(str(tmp_path)))
    assert "hush" not in json.dumps(run.config)
    settings = dict(flat(run.config))
    assert settings["devices.learner"] == "2"
    assert settings["ppo.adamBetas"] == "[0.9, 0.95]"


# Files


def test_a_stage_that_crashed_stands_in_the_files_once(tmp_path: Path) -> None:
    """Steps 3 and 5 follow the last checkpoint, and are done a second time."""
    stage = TrackedStage(tmp_path, TENSORBOARD, OFFLINE)
    stage.attempt(until=3)
    stage.attempt(until=5)
    stage.attempt()
    assert tensorboard_points(stage.tracking / "tensorboard", "reward/mean") == ALL
    assert wandb_points(stage.tracking / "wandb", "reward/mean") == ALL
    named = {f"{STAGE}/{path}" for path in ("manifest.json", "tracking/run-id")}
    assert named <= {entry.path for entry in stage.store.list(STAGE)}


def test_a_tracker_that_joins_late_is_told_what_was_before(tmp_path: Path) -> None:
    stage = TrackedStage(tmp_path)
    stage.attempt(until=4)
    assert not stage.tracking.exists()
    stage.track_by(TENSORBOARD)
    stage.attempt()
    assert tensorboard_points(stage.tracking / "tensorboard", "reward/mean") == ALL


def test_a_wandb_folder_says_what_it_is_of(tmp_path: Path) -> None:
    stage = TrackedStage(tmp_path, OFFLINE)
    stage.attempt()
    (run,) = (record.run for record in wandb_records(stage.tracking / "wandb") if record.HasField("run"))
    assert run.run_id.startswith(f"demo-{STAGE}-")
    assert (run.entity, run.project, run.run_group, run.job_type) == ("lab", "math", "demo", "Training")
    assert run.display_name == f"demo/{STAGE}"
    assert {"arm=lim", "seed=1", "kind=Training"} <= set(run.tags)
    settings = {item.key: item.value_json for item in run.config.update}
    assert json.loads(settings["ppo"])["promptsPerStep"] == 1024
    assert not any(record.HasField("stats") for record in wandb_records(stage.tracking / "wandb"))


def test_a_library_that_is_missing_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    with pytest.raises(LimrError, match=r"spec.tracking\[0\].kind: wandb needs .* with the extra tracking"):
        TrackedStage(tmp_path, OFFLINE).attempt()


# The thread


class Log:
    """A tracker that fails as often as it is told to."""

    def __init__(self, failures: int = 0, has: int = 0) -> None:
        self.next_step = has + 1
        self.steps: list[int] = []
        self.ending: Ending | None = None
        self._failures = failures

    def log(self, record: Record) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError("no route to host")
        self.steps.append(record.step)

    def close(self, ending: Ending) -> None:
        self.ending = ending


def record(step: int, metrics: Mapping[str, float] | None = None) -> Record:
    return Record(step, 0.0, metrics or {})


def ended(one: Worker, seconds: float = 60.0) -> None:
    one.close(Ending.FINISHED)
    one.join(time.monotonic() + seconds)


@given(before=some.integers(0, 5), after=some.integers(0, 5), has=some.integers(0, 12))
def test_a_tracker_gets_what_it_has_not_in_order(before: int, after: int, has: int) -> None:
    log = Log(has=has)
    history = [record(step) for step in range(1, before + 1)]
    one = Worker("log", lambda: log, lambda: history, patient=False)
    for step in range(before + 1, before + after + 1):
        one.put(record(step))
    ended(one)
    assert log.steps == [step for step in range(1, before + after + 1) if step > has]
    assert log.ending is Ending.FINISHED


def test_a_failure_is_tried_again_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.0)
    log = Log(failures=5)
    one = Worker("log", lambda: log, lambda: [record(1)], patient=True)
    one.put(record(2))
    while len(log.steps) < 2:
        time.sleep(0.01)
    ended(one)
    assert log.steps == [1, 2]
    (line,) = (entry.getMessage() for entry in caplog.records)
    assert "`limr track` sends what is missing: OSError: no route to host" in line


def test_at_the_end_nothing_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    log = Log(failures=1000)
    one = Worker("log", lambda: log, lambda: [record(1)], patient=True)
    ended(one)
    assert log.steps == []
    assert caplog.records


def test_one_that_hangs_delays_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(worker, "PENDING", 3)
    released = threading.Event()

    def hang() -> Log:
        released.wait()
        return Log()

    one = Worker("slow", hang, list, patient=False)
    for step in range(1, 10):
        one.put(record(step))
    ended(one, seconds=0.1)
    released.set()
    (line,) = (entry.getMessage() for entry in caplog.records)
    assert "3 steps wait for it already" in line


def test_what_does_not_fit_leaves_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PENDING", 2)
    released = threading.Event()
    log = Log()

    def late() -> Log:
        released.wait()
        return log

    one = Worker("late", late, list, patient=False)
    for step in (1, 2, 3):
        one.put(record(step))
    released.set()
    while len(log.steps) < 2:
        time.sleep(0.01)
    one.put(record(4))
    ended(one)
    assert log.steps == [1, 2]
