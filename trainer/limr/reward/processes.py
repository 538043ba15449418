"""Grading processes that may be killed: tasks in, outcomes out in the same order, whatever a single task does.

A process gets a chunk of tasks only when it is idle, and answers them one by one. So when it dies, the first
unanswered task is the one it was at, and the others go to the next process. No thread, no queue, no lock: one loop in
the caller's thread waits on every process at once. `pebble` was considered: its deadline is for a chunk, whose
results are lost with it, and it is kept by threads that poll.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from limr.errors import LimrError
from limr.reward.launcher import LOST, Launcher
from limr.reward.verdict import Verdict
from limr.reward.worker import READY, Answer, Refused, Settings, Task, Value

WALL_FACTOR = 10  # a task that sleeps uses no processor time: it is cut after this many times cpu_seconds
START_SECONDS = 300.0  # imports on a very busy machine
EXIT_SECONDS = 5.0
MAX_FAILED_STARTS = 3  # of all processes, in a row
MAX_DEATHS = 2  # of processes at one task: the first may have been the kernel's choice, short of memory
MAX_CHUNK = 64


class GraderLost(LimrError):
    """The grading processes cannot be kept up; on a quieter machine they may."""

    reason = "GraderLost"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Either a value, or why there is none: Verdict.TIMEOUT or Verdict.ERROR."""

    value: Value | None = None
    failure: Verdict | None = None
    detail: str = ""
    repeatable: bool = True  # the same task would end the same way again


@dataclass
class _Process:
    key: int
    connection: Connection
    heard_at: float
    ready: bool = False
    tasks: deque[int] = field(default_factory=deque)  # sent and not yet answered, in order

    @property
    def idle(self) -> bool:
        return self.ready and not self.tasks


class _Batch:
    """What is still to do of one call, and what has come of the rest."""

    def __init__(self, tasks: Sequence[Task], processes: int) -> None:
        self.tasks = tasks
        self._processes = processes
        self.todo = deque(range(len(tasks)))
        self.outcomes: dict[int, Outcome] = {}
        self._deaths = [0] * len(tasks)  # times the number of processes: see `died`

    @property
    def done(self) -> bool:
        return len(self.outcomes) == len(self.tasks)

    def take(self, count: int) -> list[int]:
        return [self.todo.popleft() for _ in range(min(count, len(self.todo)))]

    def give_back(self, indices: Iterable[int]) -> None:
        self.todo.extendleft(reversed(list(indices)))

    def died(self, indices: deque[int], status: int) -> None:
        """The process that had these tasks is gone with this exit status (negative: the signal)."""
        if indices and status == -signal.SIGPROF:
            self.outcomes[indices.popleft()] = Outcome(failure=Verdict.TIMEOUT, detail="out of processor time")
        elif indices:
            # The end of the template ends all processes, and a task may come to each before its end is noticed.
            self._deaths[indices[0]] += 1 if status == LOST else self._processes
            if self._deaths[indices[0]] >= MAX_DEATHS * self._processes:
                self.outcomes[indices.popleft()] = Outcome(
                    failure=Verdict.ERROR, detail=f"the grading process died: {_describe(status)}", repeatable=False
                )
        self.give_back(indices)


class ProcessPool:
    """At most `size` processes. Not for use by several threads at once; close() leaves none behind."""

    def __init__(self, settings: Settings, size: int) -> None:
        self._launcher = Launcher(settings)
        self._cpu_seconds = settings.cpu_seconds
        self._size = size
        self._processes: list[_Process] = []
        self._failed_starts = 0

    def start(self) -> None:
        """Starts the processes that are missing and returns at once, while they import."""
        while len(self._processes) < self._size:
            key, connection = self._launcher.fork()
            self._processes.append(_Process(key, connection, heard_at=time.monotonic()))

    def wait_ready(self) -> None:
        """Waits for the first process. Raises LimrError when the processes cannot start."""
        while not any(process.ready for process in self._processes):
            self.start()
            self._step(_Batch([], self._size))

    def run(self, tasks: Sequence[Task]) -> list[Outcome]:
        """One outcome for each task, in order. Raises LimrError when the processes cannot start."""
        batch = _Batch(tasks, self._size)
        try:
            while not batch.done:
                self.start()
                self._send(batch)
                self._step(batch)
        finally:  # after an exception: the next call must not read this one's answers
            for process in [process for process in self._processes if process.tasks]:
                self._end(process)
        return [batch.outcomes[index] for index in range(len(tasks))]

    def close(self) -> None:
        for process in self._processes:
            process.connection.close()
        self._processes.clear()
        self._launcher.close()

    def _send(self, batch: _Batch) -> None:
        for process in [process for process in self._processes if process.idle]:
            chunk = batch.take(min(MAX_CHUNK, 1 + len(batch.todo) // (4 * self._size)))
            if not chunk:
                return
            process.tasks.extend(chunk)
            process.heard_at = time.monotonic()
            try:
                process.connection.send([batch.tasks[index] for index in chunk])
            except OSError:
                self._died(process, batch)

    def _step(self, batch: _Batch) -> None:
        """Waits until some process says something, ends, or has been silent for too long."""
        due = min((self._deadline(process) for process in self._processes if not process.idle), default=0.0)
        ready = wait([process.connection for process in self._processes], max(0.0, due - time.monotonic()))
        for process in [process for process in self._processes if process.connection in ready]:
            self._hear(process, batch)
        now = time.monotonic()
        for process in [process for process in self._processes if not process.idle and self._deadline(process) < now]:
            self._overdue(process, batch)

    def _deadline(self, process: _Process) -> float:
        limit = WALL_FACTOR * self._cpu_seconds if process.ready else START_SECONDS
        return process.heard_at + limit

    def _hear(self, process: _Process, batch: _Batch) -> None:
        try:
            message = process.connection.recv()
        except (EOFError, OSError):
            self._died(process, batch)
            return
        process.heard_at = time.monotonic()
        if isinstance(message, Refused):
            raise LimrError(message.sentence)
        if message == READY:
            process.ready = True
            self._failed_starts = 0
        elif isinstance(message, Answer):
            failure = Verdict.ERROR if message.error else None
            batch.outcomes[process.tasks.popleft()] = Outcome(message.value, failure, message.error)
            if message.last:
                self._retire(process, batch, EXIT_SECONDS)

    def _overdue(self, process: _Process, batch: _Batch) -> None:
        if not process.ready:
            raise GraderLost(f"a grading process was not ready after {START_SECONDS:.0f} s; is the machine overloaded?")
        batch.outcomes[process.tasks.popleft()] = Outcome(
            failure=Verdict.TIMEOUT,
            detail=f"no verdict after {WALL_FACTOR * self._cpu_seconds:g} s",
            repeatable=False,
        )
        self._retire(process, batch)

    def _retire(self, process: _Process, batch: _Batch, grace: float = 0.0) -> None:
        self._end(process, grace)
        batch.give_back(process.tasks)

    def _died(self, process: _Process, batch: _Batch) -> None:
        status = self._end(process, EXIT_SECONDS)
        if process.ready:
            batch.died(process.tasks, status)
        else:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS * self._size:
                raise GraderLost(
                    f"grading processes end before they are ready ({_describe(status)}); their last words are on "
                    "standard error. Look there for a failing import, and whether the machine is short of memory"
                )

    def _end(self, process: _Process, grace: float = 0.0) -> int:
        self._processes.remove(process)
        process.connection.close()
        return self._launcher.end(process.key, grace)


def _describe(status: int) -> str:
    if status == LOST:
        return "together with the process that it was forked from"
    return f"signal {-status}, {signal.strsignal(-status)}" if status < 0 else f"exit status {status}"
