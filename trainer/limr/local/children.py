"""The processes of stages: started, observed, asked to stop, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from limr import stage_files
from limr.credentials import Mask
from limr.local.folder import RunFolder, last_lines
from limr.log_lines import LINES, bounded
from limr.plan import Child, Died, Finished, Observation, Running
from limr.stage import Outcome, StageInput

STAGE_COMMAND = (sys.executable, "-m", "limr.stage_main")
# A process that has handed back its result and does not end (an engine that hangs on its way out) is killed then.
EXIT_SECONDS = 30.0
KILL_SECONDS = 10.0


class Children:
    """Attempts of this and of earlier runs. What an earlier run left without a result was interrupted with it."""

    def __init__(
        self,
        folder: RunFolder,
        environment: Callable[[StageInput], Mapping[str, str]],
        command: Sequence[str] = STAGE_COMMAND,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._command = command
        self._processes: dict[Child, subprocess.Popen[bytes]] = {}
        self._ended: dict[Child, Finished | Died] = {}
        self._asked: set[Child] = set()
        for child in folder.children():
            self._ended[child] = self._left_behind(child)

    def observe(self) -> dict[Child, Observation]:
        for child, process in list(self._processes.items()):
            if _alive(process) and not self._stuck(child):
                continue
            self.kill(child)
        running = {child: Running(stage_files.read_progress(self._folder.files(child))) for child in self._processes}
        return {**self._ended, **running}

    def start(self, stage_input: StageInput) -> bool:
        """Makes the attempt's process, unless there is or was one; returns whether it did."""
        child = Child(stage_input.stage.name, stage_input.attempt)
        if child in self._processes or child in self._ended:
            return False
        environment = {**os.environ, **self._environment(stage_input), "PYTHONUNBUFFERED": "1"}
        files = self._folder.files(child)
        files.folder.mkdir()
        stage_files.write(files.input, stage_input.to_json())
        with open(self._folder.log(child), "ab") as log:
            self._processes[child] = subprocess.Popen(
                [*self._command, str(files.input), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is ours alone
            )
        return True

    def ask_to_stop(self, child: Child) -> None:
        if child in self._processes and child not in self._asked:
            self._asked.add(child)
            self._processes[child].terminate()

    def kill(self, child: Child) -> None:
        """Ends the process and what it left in its session."""
        process = self._processes.pop(child)
        os.killpg(process.pid, signal.SIGKILL)  # nobody has waited for the process yet, so the id is still its own
        self._ended[child] = self._end(child, process.wait(KILL_SECONDS))

    def kill_all(self) -> None:
        for child in list(self._processes):
            self.kill(child)

    def wait(self, seconds: float) -> None:
        """Sleeps until a process ends, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while all(map(_alive, self._processes.values())) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _stuck(self, child: Child) -> bool:
        try:
            written = self._folder.files(child).result.stat().st_mtime
        except FileNotFoundError:
            return False
        return time.time() - written > EXIT_SECONDS

    def _end(self, child: Child, status: int) -> Finished | Died:
        if finished := self._finished(child):
            return finished
        if status == -signal.SIGTERM and child in self._asked:
            return Died("Suspended", "it was asked to stop before it had begun", charged=False)
        lines = self._last_lines(child)
        if status == -signal.SIGKILL:
            words = "its process was killed (SIGKILL), as a machine does that is short of memory"
            return Died("Killed", words, last_lines=lines)
        if status < 0:
            words = f"its process was ended by signal {-status}: {signal.strsignal(-status)}"
            return Died("Crashed", words, last_lines=lines)
        return Died("Crashed", f"exit status {status} without a result", last_lines=lines)

    def _left_behind(self, child: Child) -> Finished | Died:
        return self._finished(child) or Died("Interrupted", "limr run was ended while it was at work", charged=False)

    def _finished(self, child: Child) -> Finished | None:
        files = self._folder.files(child)
        result = stage_files.read_result(files)
        if result is None:
            return None
        if result.outcome is Outcome.FAILED:
            result = result.model_copy(update={"last_lines": self._last_lines(child)})
        return Finished(result, stage_files.read_progress(files))

    def _last_lines(self, child: Child) -> tuple[str, ...]:
        return bounded(map(Mask(os.environ), last_lines(self._folder.log(child), LINES)))


def _alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether it runs, without taking note of its end, which would free its id."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
