"""The inside of one grading process, which limr.reward.template forks and which may be killed at any time.

Messages on its connection: out goes READY or Refused; then in come lists of tasks, and out goes one Answer for each. A
task is (answer, reference), or (response, answer, truncated) for a reward function of one's own.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from limr.errors import LimrError
from limr.reward import function, math
from limr.reward.verdict import Grade

READY = "ready"
_MAX_MESSAGE = 500  # characters of an exception's text

# Each kind of answer once or twice; no pair is decided without parsing. The parser learns from what it meets: the first
# answer of a kind takes it two to five times as long as the next.
_TYPICAL = [
    (r"-\frac{1+\sqrt{5}}{2}", r"\frac{-\sqrt{5}-1}{2}"),
    (r"(-\infty,-2]\cup(3,\infty)", r"(3,\infty)\cup(-\infty,-2]"),
    (r"(1,-2,\frac{3}{4})", "(1,-2,3)"),
    (r"\left( -\frac{1}{6}, \frac{1}{2} \right)", r"\left( \frac{5}{4}, -\frac{3}{4} \right)"),
    (r"[-\sqrt{3},\sqrt{3}]", "(-5,9]"),
    ("[0,1)", r"0 \le x < 1"),
    ("x^2-4x+4", "(x-2)^2"),
    ("1,2,3", r"\{3,1,2\}"),
    ("(x^2+5x+2)(x+9)", "-2x^3-3x^2+9x-9"),
    (r"y=\frac{2}{3}x-4", "2x-3y=12"),
    (r"y = -\frac{5}{2} x - \frac{29}{4}", r"\frac{3}{2} x + \frac{9}{4}"),
    (r"5+2\sqrt{3}", r"3\sqrt{7}"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 5 \end{pmatrix}"),
    (r"3\pi\text{ or }4", r"9\pi"),
    ("2-3i", "3i+2"),
    (r"\text{east}", r"\text{west}"),
    (r"90^\circ", "90"),
    (r"12\%", "0.12"),
    (r"2^{10}\cdot 3!", "6144"),
    (r"\sin x+\log_2 8", r"3+\sin x"),
    ("101_2", "152A_{11}"),
    ("1,000", "1000"),
]

Task = tuple[Any, ...]
Value = bool | float | Grade


@dataclass(frozen=True, slots=True)
class Settings:
    function: str | None  # as in spec.Reward
    cpu_seconds: float  # for one task
    memory_bytes: int  # address space beyond what the process has when it is ready


@dataclass(frozen=True, slots=True)
class Refused:
    sentence: str  # for a person


@dataclass(frozen=True, slots=True)
class Answer:
    value: Value | None
    error: str = ""  # why there is no value
    last: bool = False  # the process ends after it


def serve(descriptor: int, settings: Settings) -> None:
    """Grades until the parent hangs up. `descriptor` is our end of the connection."""
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):  # the parent hung up
        try:
            judge = _judge(settings.function)
        except LimrError as error:
            connection.send(Refused(str(error)))
            return
        full = _limit_memory(settings.memory_bytes)
        connection.send(READY)
        _serve(connection, judge, settings.cpu_seconds, full)


def _serve(connection: Connection, judge: Callable[..., Value], cpu_seconds: float, full: int) -> None:
    """Answers tasks until the parent hangs up, or until memory has grown so much that a fresh process is better.

    Past `cpu_seconds` the kernel ends this process by SIGPROF, even inside a C call that never returns. Only processor
    time counts, so that a busy machine does not turn a correct answer into a timeout.
    """
    while True:
        for task in connection.recv():
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            answer = _answer(judge, task)
            signal.setitimer(signal.ITIMER_PROF, 0)
            last = _address_space() >= full
            connection.send(replace(answer, last=last))
            if last:
                return


def _answer(judge: Callable[..., Value], task: Task) -> Answer:
    try:
        return Answer(judge(*task))
    except MemoryError:
        return Answer(None, "out of memory (reward.memoryMib)")
    except Exception as error:  # a person's function may raise anything; that is this row's verdict, no defect of ours
        return Answer(None, f"{type(error).__name__}: {error}"[:_MAX_MESSAGE])


def _judge(path: str | None) -> Callable[..., Value]:
    if path is None:
        return math.math_verify_equal
    own = function.load(path)
    return lambda response, answer, truncated: function.call(own, response, answer, truncated)


def warm_up() -> None:
    """Import Math-Verify and let its parser learn the grammar, so that neither is charged to a row. Takes 3 s."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own deadlines are off
    for answer, reference in _TYPICAL:
        math.math_verify_equal(answer, reference)


def _limit_memory(allowance: int) -> int:
    """Caps the address space at `allowance` bytes more than now; returns the size that counts as nearly full."""
    now = _address_space()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + allowance if hard == resource.RLIM_INFINITY else min(now + allowance, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return now + allowance // 2


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
