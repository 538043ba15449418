"""`limr run` with real processes whose stages take moments: resuming, interrupting, killing, failing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from local_lab import SECONDS, Lab, processes_of

from limr.errors import LimrError
from limr.local.folder import RunFolder
from limr.plan import Child, Phase
from limr.spec import Experiment

STAGES = ["preflight", "select-lim", "train-lim-s1", "report"]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def ended(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=SECONDS)
    return output


WHOLE = ("spec.selection={}", "spec.evaluation.benchmarks=[{name: sums, uri: d.json}]")


def test_a_whole_run_and_then_nothing_more(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.run(*WHOLE) == 0
    status = lab.status()
    assert status.phase is Phase.COMPLETE
    assert lab.attempts() == dict.fromkeys(
        ["preflight", "probe", "select-lim", "train-lim-s1", "evaluate", "report"], 1
    )
    assert lab.steps("train-lim-s1") == ["1 attempt 1", "2 attempt 1"]
    assert status.device_hours == pytest.approx(6 / 3600), "three stages of two steps, a device-second each"
    assert (status.progress, status.selected, status.best) == ("6/6 stages", "1389/8523", "base 50.0% (no arm better)")
    given = json.loads((lab.root / "attempts" / "train-lim-s1-1" / "input.json").read_text())
    assert given["inputs"]["select-lim"]["subset"]["uri"] == f"{lab.root}/subset"
    assert given["root"] == str(lab.root)

    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("preflight: started")
    assert out[-3:] == [
        "base      untrained  sums 50.0% [40.0%, 60.0%]",
        "lim   1,389 prompts  sums 50.0% [40.0%, 60.0%]  0.25 device-hours",
        f"report: {lab.root}/report/index.html",
    ]

    before = {file: file.stat().st_mtime_ns for file in lab.root.rglob("input.json")}
    assert lab.run(*WHOLE) == 0
    assert {file: file.stat().st_mtime_ns for file in lab.root.rglob("input.json")} == before
    assert capsys.readouterr().out.splitlines() == out[-3:]


def test_a_crash_is_told_with_its_last_words_and_tried_afresh_by_the_next_run(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.behave(train_lim_s1={"at": 1, "end": "crash"})
    with pytest.raises(LimrError) as failure:
        lab.run()
    sentence = str(failure.value)
    assert "train-lim-s1 failed after 1 attempt (Crashed): ZeroDivisionError: a defect" in sentence
    assert "not run: report" in sentence
    assert f"to try again: limr run {lab.file} --workdir {lab.folder}" in sentence
    assert "  | ZeroDivisionError: a defect" in capsys.readouterr().out
    assert "Traceback" in (lab.root / "logs" / "train-lim-s1-1.log").read_text()
    assert lab.status().stages["train-lim-s1"].ledger.device_seconds == 1, "what was lost is counted"

    lab.behave()
    assert lab.run() == 0
    assert lab.attempts() == {**dict.fromkeys(STAGES, 1), "train-lim-s1": 2}
    assert lab.steps("train-lim-s1") == ["1 attempt 1", "2 attempt 2"]


@pytest.mark.parametrize(
    ("end", "reason", "words"),
    [
        ("kill", "Killed", "SIGKILL"),
        ("exit", "Crashed", "exit status 3 without a result"),
    ],
)
def test_how_a_stage_can_fail(lab: Lab, end: str, reason: str, words: str) -> None:
    lab.behave(train_lim_s1={"at": 1, "end": end})
    with pytest.raises(LimrError, match=words):
        lab.run()
    assert lab.status().stages["train-lim-s1"].reason == reason


@pytest.mark.parametrize("end", ["crash", "kill", "exit", "bad input"])
def test_the_last_lines_of_a_failed_stage_are_kept_without_credentials(
    lab: Lab, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    lab.behave(train_lim_s1={"at": 1, "end": end, "says": "logs in with 0123456789abcdef at https://me:pw@wandb"})
    process = lab.start()
    output = ended(process)
    assert process.returncode == 1
    stage = lab.status().stages["train-lim-s1"]
    told = "logs in with *** at https://***@wandb"
    if end == "crash":  # only the end of its traceback
        assert stage.last_lines[-1] == "ZeroDivisionError: a defect"
    elif end == "bad input":
        assert stage.last_lines[0] == told
        assert stage.last_lines[-1].endswith("ERROR limr.stage_main d.json: row 3 has no answer")
    else:
        assert stage.last_lines == (told,)
    assert all(f"\n  | {line}\n" in output for line in stage.last_lines), "once, where it failed"
    assert output.count(stage.last_lines[-1]) == 1 or end in ("crash", "bad input")
    failed = lab.status().condition("Failed")
    assert failed is not None
    assert failed.message == "\n".join(
        [failed.sentence, "", "The last lines of train-lim-s1:", *(f"| {line}" for line in stage.last_lines)]
    )
    assert "0123456789abcdef" not in output + lab.status().to_json()


def test_bad_input_is_not_tried_again(lab: Lab) -> None:
    lab.behave(train_lim_s1={"at": 1, "end": "bad input"})
    with pytest.raises(LimrError, match=r"train-lim-s1 failed after 1 attempt \(BadInput\): d\.json: row 3 has no "):
        lab.run("spec.limits.attempts=3")
    assert lab.attempts()["train-lim-s1"] == 1


def test_ctrl_c_stops_at_a_checkpoint_and_the_next_run_goes_on(lab: Lab) -> None:
    lab.behave(train_lim_s1={"steps": 2000, "seconds": 0.01})
    process = lab.start()
    lab.until(lambda: len(lab.steps("train-lim-s1")) >= 3)
    process.send_signal(signal.SIGINT)
    output = ended(process)
    assert process.returncode == 130
    assert f"To go on: limr run {lab.file}" in output
    assert lab.status().phase is Phase.SUSPENDED
    done = lab.steps("train-lim-s1")

    lab.behave(train_lim_s1={"steps": len(done) + 1})
    assert lab.run() == 0
    assert lab.steps("train-lim-s1") == [*done, f"{len(done) + 1} attempt 2"]
    assert lab.status().stages["train-lim-s1"].charged_attempts == 0
    assert lab.attempts() == {**dict.fromkeys(STAGES, 1), "train-lim-s1": 2}


def test_a_second_ctrl_c_does_not_wait(lab: Lab) -> None:
    lab.behave(select_lim={"seconds": 1000})  # a stage that does not stop when asked
    process = lab.start()
    lab.until(lambda: (lab.root / "attempts" / "select-lim-1" / "progress.json").exists())
    process.send_signal(signal.SIGINT)
    lab.until(lambda: lab.status().phase is Phase.SUSPENDING)
    process.send_signal(signal.SIGINT)
    assert "Stopped at once" in ended(process)
    assert process.returncode == 130
    lab.until(lambda: not processes_of(lab.folder))
    lab.behave()
    assert lab.run() == 0
    assert lab.attempts()["select-lim"] == 2


def test_kill_9_takes_the_stage_down_and_the_next_run_goes_on(lab: Lab) -> None:
    lab.behave(train_lim_s1={"steps": 2000, "seconds": 0.01})
    for round_number in (1, 2):
        process = lab.start()
        wanted = f"attempt {round_number}"
        lab.until(lambda wanted=wanted: any(line.endswith(wanted) for line in lab.steps("train-lim-s1")))
        process.kill()
        process.wait(SECONDS)
        lab.until(lambda: not processes_of(lab.folder))
    done = lab.steps("train-lim-s1")

    lab.behave(train_lim_s1={"steps": len(done) + 1})
    assert lab.run() == 0
    assert lab.steps("train-lim-s1") == [*done, f"{len(done) + 1} attempt 3"]
    stage = lab.status().stages["train-lim-s1"]
    assert (stage.attempt, stage.charged_attempts) == (3, 0)
    assert lab.attempts()["select-lim"] == 1


def test_two_at_once_are_refused(lab: Lab) -> None:
    lab.behave(select_lim={"seconds": 1000})
    process = lab.start()
    lab.until(lambda: (lab.root / "attempts" / "select-lim-1").exists())
    with pytest.raises(LimrError, match=rf"another `limr run` \(process {process.pid}\) is at work"):
        lab.run()
    process.kill()
    process.wait(SECONDS)


def test_what_a_later_run_makes_of_a_changed_folder(lab: Lab) -> None:
    assert lab.run() == 0
    with pytest.raises(LimrError, match=r"other values of spec\.ppo\.clipLow, spec\.seed; "):
        lab.run("spec.seed=2", "spec.ppo.clipLow=0.1")
    assert lab.run("spec.limits.attempts=5") == 0, "limits may change"

    (lab.root / "status.json").unlink()
    assert lab.run() == 0
    assert lab.attempts() == dict.fromkeys(STAGES, 1), "a lost status is found again in the attempts"

    (lab.root / "status.json").write_text('{"phase": "Odd"}')
    with pytest.raises(LimrError, match=r"status\.json: phase: "):
        lab.run()


def test_a_suspended_spec_is_refused(lab: Lab) -> None:
    with pytest.raises(LimrError, match=r"spec\.schedule\.suspend"):
        lab.run("spec.schedule.suspend=true")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(lab: Lab) -> None:
    (lab.folder / "runs").mkdir(mode=0o500)
    with pytest.raises(LimrError, match="permission denied"):
        lab.run()


def test_a_file_where_the_folder_should_be(lab: Lab) -> None:
    (lab.folder / "runs").write_text("")
    with pytest.raises(LimrError, match=r"storage\.uri"):
        lab.run()


def test_results_in_s3_leave_status_and_logs_in_the_work_directory(tmp_path: Path) -> None:
    spec = {"model": {"uri": "m"}, "dataset": {"uri": "d"}, "storage": {"uri": "s3://bucket/prefix"}}
    experiment = Experiment.model_validate({"metadata": {"name": "demo"}, "spec": spec})
    folder = RunFolder(experiment, tmp_path)
    assert folder.root == "s3://bucket/prefix/default/demo"
    assert folder.path == tmp_path / "demo"
    with folder.locked():
        assert folder.log(Child("probe", 2)) == tmp_path / "demo" / "logs" / "probe-2.log"
        assert folder.children() == []
