"""A real run that misbehaves in every way that spec.guards knows, one after the other, and is let go on each time.

In the end it must equal the run that nobody disturbed: what a guard suspected has left no trace.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import EXPERIMENT, RUN_SECONDS, Run

from limr.plan import Phase, StageStatus, Status
from limr.spec import Experiment, Guards, KLBound
from limr.step_guards import judge

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

# The rule of the run that is compared with, as long as there is no file `broken` with the reward of every response, and
# no file `hanging`, at which it waits.
GRADERS = """
import time
from pathlib import Path

from limr.reward.format import Malformed, final_answer
from limr.reward.math import math_verify_equal, quick_equal
from limr.reward.verdict import Grade, Verdict

BROKEN = Path(__file__).with_name("broken")
HANGING = Path(__file__).with_name("hanging")


def grade(response, answer, truncated):
    while HANGING.exists():
        time.sleep(0.1)
    if BROKEN.exists():
        return Grade(Verdict.WRONG, float(BROKEN.read_text()), "the verifier is broken")
    found = final_answer(response, truncated)
    if isinstance(found, Malformed):
        return Grade(Verdict.FORMAT, -1.0, "")
    equal = quick_equal(found, answer)
    equal = math_verify_equal(found, answer) if equal is None else equal
    return Grade(Verdict.CORRECT, 1.0, "") if equal else Grade(Verdict.WRONG, -0.5, "")
"""
STEPS = 2  # that a guard waits


class Misbehaving:
    """A run whose guards change from one `limr run` to the next."""

    def __init__(self, folder: Path) -> None:
        self.run = Run(folder)
        (folder / "graders.py").write_text(GRADERS)
        self.broken = folder / "broken"
        self.hanging = folder / "hanging"

    def start(self, **settings: str) -> subprocess.Popen[bytes]:
        # A clip that wide lets through what the verifier says; ordinary rewards are not clipped either way.
        options = {"reward.function": "graders:grade", "ppo.rewardClip": "1.0e+38"} | {
            key.replace("_", "."): value for key, value in settings.items()
        }
        return self.run.start(*(word for item in options.items() for word in ("--set", f"spec.{'='.join(item)}")))

    def until(self, process: subprocess.Popen[bytes], holds: Callable[[StageStatus], bool]) -> None:
        """Waits until `holds` of the probe."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, self.log()
            if holds(self.status().stages.get("probe", StageStatus(kind="Probe"))):
                return
            time.sleep(0.05)
        raise AssertionError(f"not within {RUN_SECONDS} s: {self.log()}")

    def is_suspended(self, process: subprocess.Popen[bytes], reason: str) -> tuple[StageStatus, str]:
        """The probe's status and the last lines printed, once the run has ended with the words of this guard."""
        assert process.wait(RUN_SECONDS) == 1, self.log()
        status = self.status()
        guarded = status.condition("Guarded")
        assert guarded is not None
        assert (status.phase, guarded.reason, guarded.status) == (Phase.SUSPENDED, reason, "True")
        assert status.charged_attempts == 0
        told = self.log().rstrip().splitlines()[-2:]
        assert told[0] == f"limr: {guarded.message}"
        assert told[1].startswith("What is done is kept; to go on: limr run experiment.yaml --set ")
        return status.stages["probe"], guarded.message

    def good_steps(self) -> list[int]:
        """What the manifest names; the last is the last checkpoint's."""
        manifest = self.run.manifest("probe")
        assert [step.step for step in manifest.steps] == list(range(1, manifest.last_step + 1))
        assert manifest.checkpoints[-1].step == manifest.last_step
        return [step.step for step in manifest.steps]

    def status(self) -> Status:
        try:
            return self.run.status()
        except StopIteration:  # nothing is written yet
            return Status()

    def log(self) -> str:
        return (self.run.folder / "log").read_text()


@pytest.mark.nightly
def test_each_guard_stops_a_run_that_misbehaves_and_lets_it_go_on(
    undisturbed: tuple[Run, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, seconds = undisturbed
    stall = max(60, round(seconds))  # a busy machine takes longer to load engines and learners
    world = Misbehaving(tmp_path / "run")
    monkeypatch.setenv("PYTHONPATH", str(world.run.folder))
    bound, step = kl_bound(expected)

    # The KL passes a bound, at the step that follows from the other run.
    process = world.start(guards_kl_above=str(bound), guards_kl_steps=str(STEPS))
    probe, message = world.is_suspended(process, "KLAboveBound")
    assert probe.progress is not None
    assert (probe.attempt, probe.progress.step) == (1, step)
    assert f"at steps {step - STEPS + 1} to {step}, " in message
    good = world.good_steps()
    assert good[-1] <= step - STEPS
    assert f"the last good checkpoint is that of step {good[-1]}; mend the cause" in message

    # The bound is raised; then the verifier breaks, and every reward is -1.
    guards = {"guards_rewardCollapse_drop": "0.1", "guards_rewardCollapse_steps": str(STEPS)}
    process = world.start(guards_kl_above="1000", **guards)
    world.until(process, lambda probe: bool(probe.attempt == 2 and probe.progress and probe.progress.step > good[-1]))
    world.broken.write_text("-1")
    probe, message = world.is_suspended(process, "RewardCollapsed")
    assert probe.progress is not None
    assert f"at steps {probe.progress.step - STEPS + 1} to {probe.progress.step}, -1 in the last" in message
    after = world.good_steps()
    assert good[-1] <= after[-1] <= probe.progress.step - STEPS

    # The verifier is mended, and then gives rewards whose squares are beyond float32.
    world.broken.unlink()
    process = world.start(**guards)
    world.until(process, lambda probe: bool(probe.attempt == 3 and probe.progress and probe.progress.step > after[-1]))
    world.broken.write_text("-1e+30")
    probe, message = world.is_suspended(process, "NonFinite")
    assert probe.progress is not None
    finite = world.good_steps()
    assert after[-1] <= finite[-1] <= probe.progress.step
    where = f"was not finite on learner 0 at step {probe.progress.step + 1}, update 1 of 2"
    assert re.search(rf"the value loss( \(and \d more\))? {where}", message)
    assert f"the last good checkpoint is that of step {finite[-1]}; lower ppo.actorLearningRate" in message

    # It is mended again; then it hangs, while every engine and learner answers its pings.
    world.broken.unlink()
    process = world.start(guards_stall_seconds=str(stall), **guards)
    world.until(process, lambda probe: bool(probe.attempt == 4 and probe.progress and probe.progress.step > finite[-1]))
    world.hanging.touch()
    probe, message = world.is_suspended(process, "Stalled")
    assert f"no step ended for guards.stall.seconds = {stall}; the last good checkpoint is that of step " in message

    # It is mended a last time; then the budget is spent.
    world.hanging.unlink()
    spent = world.status().device_hours
    budget = {"limits_deviceHours": f"{spent + 30 / 3600:.6f}", "guards_deviceHours_action": "Suspend"}
    probe, message = world.is_suspended(world.start(**budget), "BudgetSpent")
    assert "raise limits.deviceHours to go on from there" in message
    if probe.attempt == 5 and probe.progress:  # what it did until then is kept
        assert world.good_steps()[-1] == probe.progress.checkpoint_step

    # The budget is raised, and nothing of all that is left to be seen.
    budget["limits_deviceHours"] = "1000"
    world.run.finish(world.start(**budget))
    guarded = world.status().condition("Guarded")
    assert guarded is not None
    assert guarded.reason == "NotTripped"
    world.run.assert_equals(expected)


def test_a_run_that_diverges_at_once_ends_before_its_first_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    process = run.start("--set", "spec.ppo.actorLearningRate=1.0e+20")
    assert process.wait(RUN_SECONDS) == 1
    guarded = run.status().condition("Guarded")
    assert guarded is not None
    assert (run.status().phase, guarded.reason, run.attempts()["probe"]) == (Phase.SUSPENDED, "NonFinite", 1)
    assert guarded.message.startswith("probe, attempt 1: the policy's gradient")
    assert "not finite on learner 0 at step 1, update 2 of 2; there is no good checkpoint yet; lower" in guarded.message
    manifest = run.manifest("probe")
    assert (manifest.steps, manifest.checkpoints, manifest.outputs) == ((), (), {})


def kl_bound(run: Run) -> tuple[float, int]:
    """A bound that a run like this one stays above from its middle on, and the step at which the guard trips."""
    steps = run.manifest("probe").steps
    metrics = [step.metrics for step in steps]
    kls = [step["kl"] for step in metrics]
    ppo = Experiment.model_validate(EXPERIMENT).spec.ppo
    for low, high in zip(sorted(kls), sorted(kls)[1:], strict=False):
        guards = Guards(kl=KLBound(above=(low + high) / 2, steps=STEPS)) if low + high > 0 else Guards()
        ends = (end for end in range(1, len(kls)) if judge(guards, ppo, metrics[:end]).alarm)
        step = next(ends, 0)
        if 6 <= step <= 9:
            assert guards.kl is not None
            return guards.kl.above, step
    raise AssertionError(f"no bound trips in the middle of {kls}")
