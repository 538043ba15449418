"""The parts of `limr run` that need no experiment: a stage's process, what it says, what a person sees."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import local_fakes
import pytest
from rich.console import Console

from limr import stage_files, stage_main
from limr.local.children import Children
from limr.local.folder import RunFolder, last_lines
from limr.local.interrupts import Interrupts
from limr.local.summary import summary
from limr.local.terminal import TerminalView
from limr.local.view import PlainView
from limr.local.words import duration, progress_words
from limr.plan import Child, Died, Finished, Running, StageState, StageStatus
from limr.spec import Experiment
from limr.stage import ArmResult, Interval, Ledger, Outcome, Progress, StageInput, StageKind, StageRef, StageResult
from limr.stage_files import FileChannel, StageFiles

SECONDS = 60.0


def stage_input(folder: Path, kind: StageKind = StageKind.TRAINING) -> StageInput:
    spec = {"model": {"uri": "m"}, "dataset": {"uri": str(folder / "d.json")}, "storage": {"uri": str(folder / "runs")}}
    experiment = Experiment.model_validate({"metadata": {"name": "demo"}, "spec": spec})
    root = RunFolder(experiment, folder).root
    return StageInput(experiment=experiment, stage=StageRef(name="it", kind=kind), attempt=1, root=root)


def run_stage(
    folder: Path, kind: StageKind, command: Sequence[str] = (), **behaviour: object
) -> tuple[int, StageResult]:
    """A stage in a process of its own, started by `command`."""
    (folder / "behaviour.json").write_text(json.dumps({"it": behaviour}))
    files = StageFiles(folder)
    stage_files.write(files.input, stage_input(folder, kind).to_json())
    stage = [*command, *local_fakes.STAGE_COMMAND, str(files.input)]
    status = subprocess.run(stage, timeout=SECONDS, check=False).returncode
    result = stage_files.read_result(files)
    assert result is not None
    return status, result


def test_a_stage_hands_back_its_result(tmp_path: Path) -> None:
    status, result = run_stage(tmp_path, StageKind.TRAINING, steps=3)
    assert (status, result.outcome, result.ledger.device_seconds) == (0, Outcome.SUCCEEDED, 3)
    progress = stage_files.read_progress(StageFiles(tmp_path))
    assert progress is not None
    assert (progress.step, progress.steps) == (3, 3)


def test_a_report_hands_back_the_results_table(tmp_path: Path) -> None:
    _, result = run_stage(tmp_path, StageKind.REPORT)
    sums = Interval(mean=0.5, low=0.4, high=0.6)
    assert result.results == (
        ArmResult(name="base", benchmarks={"sums": sums}),
        ArmResult(name="lim", prompts=1389, benchmarks={"sums": sums}, device_hours=0.25),
    )


def test_a_defect_becomes_a_result_with_its_last_line(tmp_path: Path) -> None:
    status, result = run_stage(tmp_path, StageKind.PROBE, at=1, end="crash")
    assert (status, result.outcome, result.reason) == (1, Outcome.FAILED, "Crashed")
    assert result.message == "ZeroDivisionError: a defect"
    assert result.ledger.device_seconds == 1


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("crash", "ZeroDivisionError: a defect"),
        ("bad input", "ERROR d.json: row 3 has no answer"),
    ],
)
def test_as_on_a_cluster_its_result_has_its_last_lines(tmp_path: Path, end: str, expected: str) -> None:
    log = (sys.executable, "-m", "limr.stage_log", "--stage", "rl/demo/it/1", "--")
    status, result = run_stage(tmp_path, StageKind.PROBE, log, at=1, end=end, says="hello")
    assert status == 1
    assert result.last_lines[-1] == expected
    assert end == "crash" or result.last_lines[0] == "hello"
    _, result = run_stage(tmp_path, StageKind.PROBE, log)
    assert result.last_lines == ()


@pytest.mark.parametrize(("end", "reason"), [("bad input", "BadInput"), ("store", "StoreUnavailable")])
def test_what_a_person_can_mend_has_its_reason(tmp_path: Path, end: str, reason: str) -> None:
    status, result = run_stage(tmp_path, StageKind.PROBE, at=1, end=end)
    assert (status, result.outcome, result.reason) == (1, Outcome.FAILED, reason)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_it.py").write_text("import package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handlers = {StageKind.PROBE: "needs_it:run_stage"}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        files = StageFiles(tmp_path)
        stage_files.write(files.input, stage_input(tmp_path, StageKind.PROBE).to_json())
        assert stage_main.main([str(files.input)], handlers) == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    result = stage_files.read_result(files)
    assert result is not None
    assert "the package package_that_is_not_there is not installed" in result.message


def test_every_kind_has_code() -> None:
    assert set(stage_main.HANDLERS) == set(StageKind)


def test_a_quiet_stage_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_main, "BEAT_SECONDS", 0.01)
    reporter = FileChannel(StageFiles(tmp_path))
    with stage_main._beating(reporter):
        deadline = time.monotonic() + SECONDS
        while not (tmp_path / "progress.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_reporter_is_asked_to_stop_once_and_for_all(tmp_path: Path) -> None:
    reporter = FileChannel(StageFiles(tmp_path))
    assert not reporter.stop_requested()
    reporter.stop()
    assert reporter.stop_requested()


def test_a_child_that_does_not_end_after_its_result_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limr.local.children.EXIT_SECONDS", -1.0)
    script = tmp_path / "hangs.py"
    result = StageResult(outcome=Outcome.SUCCEEDED, reason="Completed", message="").to_json()
    script.write_text(
        "import os, sys, time\n"
        f"open(os.path.dirname(sys.argv[1]) + '/result.json', 'w').write({result!r})\n"
        "time.sleep(1000)\n"
    )
    given = stage_input(tmp_path)
    folder = RunFolder(given.experiment, tmp_path)
    child = Child("it", 1)
    with folder.locked():
        children = Children(folder, lambda _: {}, [sys.executable, str(script)])
        assert children.start(given)
        assert not children.start(given), "an attempt is made once"
        deadline = time.monotonic() + SECONDS
        while isinstance(children.observe()[child], Running):
            assert time.monotonic() < deadline
            children.wait(0.05)
        assert isinstance(children.observe()[child], Finished)
        assert not children.start(given)


@pytest.mark.parametrize(
    ("does", "asked", "reason", "charged"),
    [
        ("time.sleep(1000)", True, "Suspended", False),
        ("os.kill(os.getpid(), signal.SIGTERM)", False, "Crashed", True),
        ("os.kill(os.getpid(), signal.SIGKILL)", False, "Killed", True),
        ("os.abort()", False, "Crashed", True),
    ],
)
def test_a_child_that_a_signal_ends(tmp_path: Path, does: str, asked: bool, reason: str, charged: bool) -> None:
    given = stage_input(tmp_path)
    folder = RunFolder(given.experiment, tmp_path)
    child = Child("it", 1)
    script = f"import os, signal, time; {does}"
    with folder.locked():
        children = Children(folder, lambda _: {}, [sys.executable, "-c", script])
        children.start(given)
        if asked:
            children.ask_to_stop(child)
        deadline = time.monotonic() + SECONDS
        while isinstance(seen := children.observe()[child], Running):
            assert time.monotonic() < deadline
            children.wait(0.05)
    assert isinstance(seen, Died)
    assert (seen.reason, seen.charged) == (reason, charged)


def test_a_child_ends_with_all_that_it_started(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys, os\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(tmp_path / 'pid')!r} + '.new', 'w').write(str(child.pid))\n"
        f"os.rename({str(tmp_path / 'pid')!r} + '.new', {str(tmp_path / 'pid')!r})\n"
        "os._exit(1)\n"
    )
    given = stage_input(tmp_path)
    folder = RunFolder(given.experiment, tmp_path)
    with folder.locked():
        children = Children(folder, lambda _: {}, [sys.executable, str(script)])
        children.start(given)
        deadline = time.monotonic() + SECONDS
        while isinstance(children.observe()[Child("it", 1)], Running):
            assert time.monotonic() < deadline
            children.wait(0.05)
    orphan = int((tmp_path / "pid").read_text())
    while _alive(orphan):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_second_interrupt_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.received is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log, 3) == []
    log.write_bytes(b"x" * 100_000 + b"\n\none\n\xff two\n\n")
    assert last_lines(log, 2) == ["one", "\ufffd two"]


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3599, 3660, 90_000)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "59 min 59 s",
        "1 h 1 min",
        "25 h 0 min",
    ]


PROGRESS = Progress(updated_at=0, step=12, steps=160, reward_mean=0.4321, tokens_per_second=8213.4, eta_seconds=125)


def test_a_beat_never_puts_old_progress_back(tmp_path: Path) -> None:
    channel, ended = FileChannel(StageFiles(tmp_path)), threading.Event()

    def beat() -> None:
        while not ended.is_set():
            channel.beat()

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        for step in range(200):
            channel.progress(Progress(updated_at=0, step=step))
            assert channel.last.step == step
    finally:
        ended.set()
        beating.join()


def test_progress_in_words() -> None:
    assert progress_words(PROGRESS) == "step 12/160, reward 0.432, 8,213 tokens/s, 2 min 5 s left"
    assert progress_words(Progress(updated_at=0, message="loading the model")) == "loading the model"
    within = PROGRESS.model_copy(update={"message": "training", "part_done": 12, "part_size": 32})
    assert progress_words(within).endswith("2 min 5 s left, training 12/32")
    assert progress_words(None) == ""


def stage_status() -> StageStatus:
    return StageStatus(
        kind=StageKind.PROBE,
        state=StageState.RUNNING,
        attempt=1,
        started_at=datetime.now(UTC),
        progress=PROGRESS,
        ledger=Ledger(),
    )


def test_the_plain_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    view = PlainView()
    with view.shown():
        view.started(Child("probe", 2))
        view.progress(Child("probe", 2), stage_status())
        monkeypatch.setattr("limr.local.view.LOG_SECONDS", 0.0)
        view.started(Child("probe", 3))
        view.progress(Child("probe", 3), stage_status())
        view.ended(Child("probe", 3), "finished in 3 s")
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "probe: started (attempt 2)",
        "probe: started (attempt 3)",
        "probe: step 12/160, reward 0.432, 8,213 tokens/s, 2 min 5 s left",
        "probe: finished in 3 s",
    ]


def test_the_terminal_fits_eighty_columns() -> None:
    out = io.StringIO()
    view = TerminalView(Console(file=out, force_terminal=True, width=80))
    with view.shown():
        view.started(Child("train-random-s1", 1))
        view.progress(Child("train-random-s1", 1), stage_status())
        view.note("a [bracketed] note")
        view._bars.refresh()
        view.ended(Child("train-random-s1", 1), "finished in 3 s")
    text = out.getvalue()
    assert "a [bracketed] note" in text
    assert "train-random-s1: finished in 3 s" in text
    assert "2 min 5 s left" in text


def result(name: str, benchmarks: int) -> ArmResult:
    intervals = {f"b{i}": Interval(mean=0.123456, low=0.1, high=0.2) for i in range(benchmarks)}
    if benchmarks > 1:
        intervals["average"] = Interval(mean=0.5, low=0.4, high=0.6)
    return ArmResult(name=name, prompts=1389, benchmarks=intervals, device_hours=1234.567)


def test_the_summary_has_five_lines_at_most() -> None:
    many = summary([result(f"arm{i}", 3) for i in range(9)], "report/index.html")
    assert many == [
        "arm0  1,389 prompts  average 50.0% [40.0%, 60.0%]  1.23e+03 device-hours",
        "arm1  1,389 prompts  average 50.0% [40.0%, 60.0%]  1.23e+03 device-hours",
        "arm2  1,389 prompts  average 50.0% [40.0%, 60.0%]  1.23e+03 device-hours",
        "… and 6 more",
        "report: report/index.html",
    ]
    assert len(summary([result(f"arm{i}", 1) for i in range(4)], "r")) == 5
    assert summary([], "r") == ["report: r"]
