"""Life signs and stops: what works for long lives, what hangs is named, and a stop in mid-step loses no step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
import slow_stages
from engines import cpu_engines, cpu_learners, learner_settings, ray_cluster, step_batch
from runs import EXPERIMENT, Run, roles

from limr.actors import ActorLost, Work, total_work
from limr.learner.group import LearnerGroup
from limr.liveness import Liveness
from limr.rollout.group import EngineGroup
from limr.rollout.types import SamplingSettings, engine_settings
from limr.spec import Experiment
from limr.stage import Progress
from limr.stage_files import StageFiles, read_progress

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

TESTS = Path(__file__).parents[2]
STOP_SECONDS = 60.0
LIMIT_SECONDS = 8.0  # that a process may leave a ping unanswered


def until(condition: Callable[[], object], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


# Pings, of a real learner in a process of its own


@pytest.fixture(scope="module")
def ray_running() -> Iterator[None]:
    with ray_cluster():
        yield


def slow_group(**ppo: object) -> LearnerGroup:
    """One learner, which takes seconds for each of two updates."""
    settings = learner_settings(packing=False, **ppo)
    return LearnerGroup(cpu_learners(), settings, wait_seconds=300, factory="slow_learner:SlowLearner")


@pytest.mark.usefixtures("ray_running")
def test_a_learner_that_works_answers_and_one_that_is_stopped_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limr.liveness.PING_SECONDS", 0.2)
    monkeypatch.setattr("limr.liveness.BEAT_SECONDS", 0.5)
    beats: list[float] = []
    reports: list[Work] = []
    with (
        closing(slow_group()) as group,
        Liveness(lambda: beats.append(time.monotonic()), LIMIT_SECONDS) as liveness,
    ):
        liveness.follow(vital=lambda: group.actors)
        group.start()
        began = time.monotonic()
        group.measure(step_batch(1, 32, 4), reports.append)
        group.update(reports.append)
        assert time.monotonic() - began > LIMIT_SECONDS
        liveness.check()
        assert reports == [Work(1, 2), Work(2, 2)] * 2
        assert len([beat for beat in beats if beat > began]) >= LIMIT_SECONDS

        stop_process("learner")
        with pytest.raises(ActorLost, match=r"^learner 0 has not answered a ping for \d+ seconds"):
            group.measure(step_batch(2, 32, 4))
        silent = len(beats)
        time.sleep(1.0)
        assert len(beats) == silent, "a driver without its learner does not say that the stage lives"


@pytest.mark.nightly
@pytest.mark.usefixtures("ray_running")
def test_an_engine_reports_its_responses_and_is_replaced_when_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limr.liveness.PING_SECONDS", 0.05)
    monkeypatch.setattr("limr.actors.POLL_SECONDS", 0.05)
    spec = Experiment.model_validate(EXPERIMENT).spec
    prompts, settings = [[10 + index % 100, 20, 30] for index in range(256)], SamplingSettings(8, 1.0, 1.0, 12)
    work: set[Work] = set()
    engines: EngineGroup

    def watch() -> None:
        work.add(total_work(engines.actors))

    engines = EngineGroup(cpu_engines(), engine_settings(spec, benchmarks_too=False), 300, watch)
    with closing(engines), Liveness(lambda: None, LIMIT_SECONDS) as liveness:
        liveness.follow(others=lambda: engines.actors)
        engines.start()
        first = engines.generate(prompts, range(256), settings)
        partly = [found for found in work if 0 < found.done < found.total]
        assert partly
        assert {found.total for found in partly} == {256 * 8}
        stop_process("engine")
        second = engines.generate(prompts, range(256), settings)
        assert engines.replaced == 1
        assert np.array_equal(first.tokens, second.tokens)
        assert np.array_equal(first.logprobs, second.logprobs)


def stop_process(role: str) -> None:
    """As a process that hangs: it exists, and answers nothing."""
    alive = [process for process in roles(psutil.Process())[role] if process.status() != psutil.STATUS_STOPPED]
    (process,) = alive
    process.send_signal(signal.SIGSTOP)


# Stops, of whole runs


class SlowRun(Run):
    """Of which each minibatch takes seconds as long as `slow` is true."""

    def start_slowly(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, slow_stages.__file__, "run", "experiment.yaml"],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
            )

    def progress(self, stage: str) -> Progress | None:
        """Of the attempt that began last."""
        files = sorted(self.folder.rglob(f"*{stage}*/**/progress.json"), key=lambda file: file.stat().st_mtime)
        return read_progress(StageFiles(files[-1].parent)) if files else None

    def stop_within(self, process: subprocess.Popen[bytes], step: int, part: str) -> float:
        """Asks the run to stop in the middle of `part` of the step after `step`; how many seconds it took."""

        def there() -> bool:
            assert process.poll() is None, (self.folder / "log").read_text()
            said = self.progress("probe")
            return said is not None and said.step == step and said.message == part and said.part_done == 1

        until(there)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(300) == 128 + signal.SIGTERM, (self.folder / "log").read_text()
        return time.monotonic() - began


@pytest.mark.nightly
def test_a_stop_in_mid_step_leaves_a_checkpoint_and_changes_nothing(
    undisturbed: tuple[Run, float], tmp_path: Path
) -> None:
    expected, _ = undisturbed
    run = SlowRun(tmp_path / "run")
    # Before its first update a step can be dropped, and the state before it be saved.
    assert run.stop_within(run.start_slowly(), step=1, part="logprobs") < STOP_SECONDS
    assert [checkpoint.step for checkpoint in run.manifest("probe").checkpoints] == [1]
    # Between its updates the state before it is what was held aside.
    assert run.stop_within(run.start_slowly(), step=2, part="training") < STOP_SECONDS
    assert [checkpoint.step for checkpoint in run.manifest("probe").checkpoints] == [1, 2]
    assert "stopped after step 2 of 12" in (run.folder / "log").read_text()
    run.finish(run.start())
    run.assert_equals(expected)
