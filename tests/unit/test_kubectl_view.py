"""What `kubectl limr status` shows, at 80 columns."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import kubectl_experiments as examples
import pytest
from kubectl_experiments import NOW, WARNINGS

from limr.kubectl.experiments import parsed
from limr.kubectl.sparkline import bar, short_duration, sparkline
from limr.kubectl.view import plain_line, view
from limr.plan import Phase, StageState, StageStatus, Status
from limr.stage import Progress, StageKind

RUNNING = """\
qwen-math in rl: Running, 3h20m old, 12.35 of 400 device-hours

STAGE                 STATE        TRY       STEP  REWARD  TOKENS/S    LEFT
probe                 Running        2    120/168   0.561    21,034   9h12m
  ██████░░  71%  reward ▁▂▂▃▃▄▄▄▅▅▅▆▆▆▆▆▇▇▇▇▇▇▇███████ 0.10 to 0.56
  attempt 1 ended: HeadLost: the Pod with its driver is gone
select-lim            Pending
select-random         Pending
train-lim-s1          Pending
train-random-s1       Pending
evaluate              Pending
report                Pending"""

SUSPENDED = """\
qwen-math in rl: Suspended, 3h20m old, 12.35 of 400 device-hours

Suspended
  nothing runs; set schedule.suspend to false to go on
  → to go on: kubectl limr resume qwen-math -n rl

STAGE                 STATE        TRY       STEP  REWARD  TOKENS/S    LEFT
probe                 Pending        2    120/168   0.561
  ██████░░  71%  reward ▁▂▂▃▃▄▄▄▅▅▅▆▆▆▆▆▇▇▇▇▇▇▇███████ 0.10 to 0.56
  Suspended: stopped after step 120 of 168
select-lim            Pending
select-random         Pending
train-lim-s1          Pending
train-random-s1       Pending
evaluate              Pending
report                Pending"""

GUARDED = """\
qwen-math in rl: Suspended, 3h20m old, 12.35 of 400 device-hours

Guarded: KLAboveBound
  probe, attempt 2: the mean KL from the reference was above guards.kl.above =
  0.3 nats per token at steps 118 to 120, 0.52 in the last; the last good
  checkpoint is that of step 110; mend the cause and let it go on, or change
  spec.guards.kl
  → when the cause is mended: kubectl limr resume qwen-math -n rl

STAGE                 STATE        TRY       STEP  REWARD  TOKENS/S    LEFT
probe                 Pending        2    120/168   0.561
  ██████░░  71%  reward ▁▂▂▃▃▄▄▄▅▅▅▆▆▆▆▆▇▇▇▇▇▇▇███████ 0.10 to 0.56
  KLAboveBound: the mean KL from the reference was above guards.kl.above = 0.3 …
select-lim            Pending
select-random         Pending
train-lim-s1          Pending
train-random-s1       Pending
evaluate              Pending
report                Pending"""

FAILED = """\
qwen-math in rl: Failed, 3h20m old, 31.50 of 400 device-hours

Failed: StageFailed
  train-lim-s1 failed after 3 attempts (ProcessLost): learner 1 of 2 died
  (ActorDiedError: The actor died because its node has died); read the stage's
  log, mend the cause and run the failed stage afresh
  The last lines of train-lim-s1:
  | (_Host pid=211) torch.OutOfMemoryError: CUDA out of memory. Tried to alloca…
  | ERROR learner 1 of 2 died
  → when the cause is mended: kubectl limr retry qwen-math -n rl

STAGE                 STATE        TRY       STEP  REWARD  TOKENS/S    LEFT
probe                 Succeeded      1    168/168   0.700
select-lim            Succeeded      1  kept 1,389 of 8,523 prompts
select-random         Succeeded      1  kept 1,389 of 8,523 prompts
train-lim-s1          Failed         3     12/160   0.310
  █░░░░░░░   8%  reward ▁▂▃▄▄▅▆▆▇▇██ 0.10 to 0.40
  ProcessLost: learner 1 of 2 died (ActorDiedError: The actor died because its …
train-random-s1       Succeeded      1    160/160   0.682
evaluate              Blocked           it needs train-lim-s1
report                Blocked           it needs evaluate

LAST WARNINGS
    4m ago  StageFailed: train-lim-s1, attempt 3: ProcessLost: learner 1 of 2
            died (ActorDiedError: The actor died because its node has died)
   29m ago  StageWillRetry: train-lim-s1, attempt 2: ProcessLost: learner 1 of 2
            died"""

COMPLETE = """\
qwen-math in rl: Complete, 3h20m old, 41.06 of 400 device-hours

STAGE                 STATE        TRY       STEP  REWARD  TOKENS/S    LEFT
probe                 Succeeded      1    168/168   0.700
select-lim            Succeeded      1  kept 1,389 of 8,523 prompts
select-random         Succeeded      1  kept 1,389 of 8,523 prompts
train-lim-s1          Succeeded      1    160/160   0.721
train-random-s1       Succeeded      1    160/160   0.682
evaluate              Succeeded      1        3/3
report                Succeeded      1

RESULTS             PROMPTS  math500                 DEVICE-HOURS
base                      –  31.2% [27.1%, 35.6%]               –
lim                   1,389  55.0% [50.1%, 59.8%]            9.10
random                1,389  49.3% [44.4%, 54.1%]            9.40
→ kubectl limr report qwen-math -n rl"""


def shown(manifest: dict[str, Any], warnings: list[dict[str, Any]] | None = None) -> str:
    return view(parsed(manifest), warnings or [], NOW, 80).plain


@pytest.mark.parametrize(
    ("manifest", "warnings", "expected"),
    [
        (examples.running(), [], RUNNING),
        (examples.suspended(), [], SUSPENDED),
        (examples.guarded(), [], GUARDED),
        (examples.failed(), WARNINGS, FAILED),
        (examples.complete(), [], COMPLETE),
    ],
    ids=["running", "suspended", "guarded", "failed", "complete"],
)
def test_the_whole_view(manifest: dict[str, Any], warnings: list[dict[str, Any]], expected: str) -> None:
    assert shown(manifest, warnings) == expected
    assert all(len(line) <= 80 for line in expected.splitlines())


def test_what_no_operator_has_seen() -> None:
    manifest = examples.manifest(Status())
    del manifest["status"]
    text = shown(manifest)
    assert text.startswith(
        "qwen-math in rl: Pending, 3h20m old, 0.00 of 400 device-hours\n\nThe operator has not looked"
    )


def test_what_was_not_accepted_stands_first() -> None:
    accepted = examples.condition("Accepted", "QueueMissing", "there is no Kueue LocalQueue research", holds=False)
    lines = shown(examples.manifest(Status(conditions=(accepted,)))).splitlines()
    assert lines[2:4] == ["Not Accepted: QueueMissing", "  there is no Kueue LocalQueue research"]


def test_a_stage_that_waits_for_its_next_attempt() -> None:
    waits = StageStatus(
        kind=StageKind.PROBE,
        state=StageState.PENDING,
        attempt=1,
        reason="ProcessLost",
        message="engine 0 died",
        retry_at=NOW + timedelta(seconds=40),
    )
    lines = shown(examples.manifest(Status(phase=Phase.RUNNING, stages={"probe": waits}))).splitlines()
    assert lines[-2:] == ["  ProcessLost: engine 0 died", "  next attempt in 40s"]


def test_a_silent_stage_and_what_it_does() -> None:
    said = Progress(updated_at=0, step=1, steps=5, message="evaluating lim-s1")
    silent = StageStatus(
        kind=StageKind.EVALUATION,
        state=StageState.RUNNING,
        attempt=1,
        progress=said,
        heartbeat_at=NOW - timedelta(minutes=5),
    )
    text = shown(examples.manifest(Status(phase=Phase.RUNNING, stages={"evaluate": silent})))
    assert text.endswith("  ██░░░░░░  20%\n  evaluating lim-s1\n  has said nothing for 5m")


def test_how_far_a_part_of_a_step_is() -> None:
    assert examples.PROBE.progress is not None
    said = examples.PROBE.progress.model_copy(update={"message": "generation", "part_done": 2048, "part_size": 8192})
    probe = examples.PROBE.model_copy(update={"state": StageState.RUNNING, "progress": said})
    assert (
        "  generation 2,048/8,192\n"
        in shown(examples.manifest(Status(phase=Phase.RUNNING, stages={"probe": probe}))) + "\n"
    )


def test_the_longest_curve_fits() -> None:
    said = examples.PROBE.progress
    assert said is not None
    (length,) = (found.max_length for found in Progress.model_fields["reward_curve"].metadata)
    longest = said.model_copy(update={"reward_curve": (-1.0,) * length, "step": said.steps})
    probe = examples.PROBE.model_copy(update={"progress": longest})
    text = shown(examples.manifest(Status(phase=Phase.RUNNING, stages={"probe": probe})))
    assert "-1.00 to -1.00" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_a_blocked_stage_needs_is_cut() -> None:
    needs = "it needs probe, select-lim, train-lim-s1, train-lim-s2, evaluate"
    blocked = StageStatus(kind=StageKind.REPORT, state=StageState.BLOCKED, message=needs)
    text = shown(examples.manifest(Status(phase=Phase.FAILED, stages={"report": blocked})))
    assert text.endswith("  it needs probe, select-lim, …")


def test_that_it_failed_is_no_news_of_its_own() -> None:
    event = {**WARNINGS[0], "reason": "Failed", "message": "the experiment is Failed"}
    assert "LAST WARNINGS" not in shown(examples.failed(), [event])


def test_hundreds_of_stages_fit_a_screen() -> None:
    trainings = {f"train-a-s{seed}": StageStatus(kind=StageKind.TRAINING) for seed in range(400)}
    stages = examples.stages(probe=examples.PROBE) | trainings
    text = shown(examples.manifest(Status(phase=Phase.RUNNING, stages=stages)))
    assert len(text.splitlines()) < 20
    assert "train-a-s0 … train-random-s1  402 Pending" in text


@pytest.mark.parametrize(
    ("manifest", "line"),
    [
        (
            examples.running(),
            "Running probe: step 120/168, reward 0.561, 21,034 tokens/s, 9 h 12 min left",
        ),
        (examples.suspended(), "Suspended probe: 120/168: nothing runs; set schedule.suspend to false to go on"),
        (examples.complete(), "Complete 7/7 stages: all 7 stages succeeded; see the report"),
    ],
)
def test_a_line_for_logs(manifest: dict[str, Any], line: str) -> None:
    assert plain_line(parsed(manifest).status) == line


def test_pictures_of_numbers() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.3, 0.3]) == "▁▁"
    assert sparkline([-1, 0, 1]) == "▁▅█"
    assert bar(0.5, 4) == "██░░"
    assert bar(1.7, 4) == "████"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (600, "10m"), (3600, "1h"), (12000, "3h20m"), (90000, "1d1h"), (172800, "2d")],
)
def test_short_durations(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


def test_a_newer_operator_may_say_more() -> None:
    manifest = examples.running()
    manifest["status"]["novelty"] = 1
    manifest["status"]["stages"]["probe"]["novelty"] = {"a": 1}
    assert shown(manifest) == RUNNING
