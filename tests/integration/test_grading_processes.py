"""Reward functions of one's own, good and hostile. The grading processes import them from this module."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from limr.errors import LimrError
from limr.reward.launcher import LOST
from limr.reward.pool import Grader
from limr.reward.processes import GraderLost, _Batch
from limr.reward.verdict import Grade, GradeRequest, Verdict
from limr.spec import Reward

pytestmark = pytest.mark.integration

hoard: list[bytearray] = []


def partial_credit(response: str, answer: str, truncated: bool) -> float | Grade:
    print("this must not reach standard output")
    if truncated:
        return Grade(Verdict.FORMAT, -3, "too long")
    return len(set(response) & set(answer)) / len(set(answer))


def fill_memory() -> None:
    while True:
        hoard.append(bytearray(10**7))


def loop() -> None:
    while True:
        pass


DEEDS = {
    "behave": lambda: 1.0,
    "raise": lambda: dict[str, float]()["lost"],
    "return nothing": lambda: None,
    "exit": lambda: os._exit(3),
    "leave": lambda: sys.exit("enough"),
    "leave quietly": sys.exit,
    "crash": lambda: ctypes.string_at(0),
    "allocate": lambda: bytearray(10**12),
    "hoard": fill_memory,
    "loop": loop,
    "stay in C": lambda: 9 ** (9**9),
    "sleep": lambda: time.sleep(1000),
}


def obedient(response: str, answer: str, truncated: bool) -> float:
    """Does what the response says."""
    return DEEDS[response]()  # type: ignore[no-any-return, no-untyped-call]


def die_at_first(response: str, answer: str, truncated: bool) -> float:
    """As when the kernel, short of memory, picks this process: the next one finds the file and lives."""
    if response == "victim" and not Path(answer).exists():
        Path(answer).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


def reward(name: str, **fields: float) -> Reward:
    return Reward.model_validate({"function": f"{__name__}:{name}", "workers": 2, **fields})


def descendants(of: int) -> set[int]:
    tasks = Path(f"/proc/{of}/task").glob("*/children")
    children = {int(pid) for task in tasks for pid in task.read_text().split()}
    return children.union(*map(descendants, children))


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_numbers_and_grades_are_rewards(capfd: pytest.CaptureFixture[str]) -> None:
    with Grader(reward("partial_credit")) as grader:
        grades = grader.grade([GradeRequest("ab", "abcd"), GradeRequest("dcba", "abcd"), GradeRequest("", "a", True)])
    assert grades == [Grade(Verdict.WRONG, 0.5), Grade(Verdict.CORRECT, 1.0), Grade(Verdict.FORMAT, -3.0, "too long")]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("deed", "verdict", "detail"),
    [
        ("raise", Verdict.ERROR, "KeyError: 'lost'"),
        ("return nothing", Verdict.ERROR, "returned NoneType"),
        ("exit", Verdict.ERROR, "exit status 3"),
        ("leave", Verdict.ERROR, "exit status 1"),
        ("leave quietly", Verdict.ERROR, "exit status 0"),
        ("crash", Verdict.ERROR, "signal 11"),
        ("allocate", Verdict.ERROR, "out of memory"),
        ("hoard", Verdict.ERROR, "out of memory"),
        ("loop", Verdict.TIMEOUT, "processor time"),
        ("stay in C", Verdict.TIMEOUT, "processor time"),
        ("sleep", Verdict.TIMEOUT, "no verdict after 5 s"),
    ],
)
def test_a_bad_row_costs_nobody_else(deed: str, verdict: Verdict, detail: str) -> None:
    good, bad = GradeRequest("behave", "5"), GradeRequest(deed, "5")
    # Filling memory takes processor time too, which must not run out first on a slow machine.
    timeout = 30 if detail == "out of memory" else 0.5
    with Grader(reward("obedient", memoryMib=256, timeoutSeconds=timeout)) as grader:
        grades = grader.grade([good, good, bad, good, good, good])
        again = grader.grade([good] * 20)
    assert grades[2].verdict is verdict
    assert grades[2].reward == -1
    assert detail in grades[2].detail
    assert {grade.verdict for grade in grades[:2] + grades[3:] + again} == {Verdict.CORRECT}


def test_a_row_is_tried_again_when_its_process_was_killed(tmp_path: Path) -> None:
    rows = [GradeRequest("victim", str(tmp_path / "killed")), GradeRequest("other", "")]
    with Grader(reward("die_at_first")) as grader:
        assert grader.grade(rows) == [Grade(Verdict.CORRECT, 1.0)] * 2


@pytest.mark.parametrize("chosen", [min, max], ids=["the template", "a grading process"])
def test_what_is_killed_between_two_batches_is_replaced(chosen: Callable[[set[int]], int]) -> None:
    before = descendants(os.getpid())
    with Grader(reward("obedient")) as grader:
        grader.grade([GradeRequest("behave", "")] * 10)
        os.kill(chosen(descendants(os.getpid()) - before), signal.SIGKILL)
        assert {grade.verdict for grade in grader.grade([GradeRequest("behave", "")] * 10)} == {Verdict.CORRECT}


def test_the_end_of_the_template_is_not_the_fault_of_the_task_that_meets_every_end_of_it() -> None:
    batch = _Batch([("behave", "")], processes=2)
    for _ in range(2):
        batch.died(deque(batch.take(1)), LOST)
    assert not batch.outcomes
    for _ in range(2):  # it ends each template that it comes to
        batch.died(deque(batch.take(1)), LOST)
    assert batch.outcomes[0].failure is Verdict.ERROR


def test_a_template_killed_while_it_imports_is_replaced() -> None:
    before = descendants(os.getpid())
    with Grader(reward("obedient")) as grader:
        os.kill(min(descendants(os.getpid()) - before), signal.SIGKILL)
        assert grader.grade([GradeRequest("behave", "")]) == [Grade(Verdict.CORRECT, 1.0)]


def test_close_leaves_no_process() -> None:
    before = descendants(os.getpid())
    with Grader(reward("obedient")) as grader:
        grader.grade([GradeRequest("behave", "")])
        started = descendants(os.getpid()) - before
        assert len(started) == 3  # the template and two
    assert descendants(os.getpid()) == before
    assert not any(alive(pid) for pid in started)


def test_an_exception_in_the_caller_leaves_no_stale_answers() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Grader(reward("obedient")) as grader:
            grader.wait_ready()
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                grader.grade([GradeRequest("sleep", "")] * 4)
            assert grader.grade([GradeRequest("raise", ""), GradeRequest("behave", "")])[1].verdict is Verdict.CORRECT
    finally:
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("name", ["no_such_module:f", "os.path:join_them", "os.path:isdir"])
def test_a_function_that_cannot_be_used_is_refused_before_the_first_row(name: str) -> None:
    with Grader(Reward(function=name, workers=1)) as grader, pytest.raises(LimrError, match=name):
        grader.wait_ready()


@pytest.fixture
def module_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dies_on_import.py").write_text("import os\nos._exit(9)\n")
    return "dies_on_import:reward"


def test_processes_that_cannot_start_are_not_tried_for_ever(module_that_dies: str) -> None:
    with (
        Grader(Reward(function=module_that_dies, workers=2)) as grader,
        pytest.raises(GraderLost, match="exit status 9"),
    ):
        grader.grade([GradeRequest("behave", "")])


PARENT = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from limr.reward.launcher import LOST
from limr.reward.pool import Grader
from limr.reward.processes import GraderLost, _Batch
from limr.reward.verdict import GradeRequest
from limr.spec import Reward
grader = Grader(Reward(function="test_grading_processes:obedient", workers=2))
grader.grade([GradeRequest("behave", "")])
print("graded", flush=True)
grader.grade([GradeRequest(sys.argv[1], "")] * 2)
sys.stdin.read()
"""


@pytest.mark.parametrize("busy_with", ["behave", "sleep"])
def test_no_process_outlives_a_killed_parent(busy_with: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, busy_with], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"graded\n"
        started = descendants(parent.pid)
        assert len(started) == 3  # the template and two
        parent.kill()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in started)
