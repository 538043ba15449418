"""A copy of the process's log where Kubernetes looks for logs: the output of its container.

What the process of a Ray job prints goes to a file of the head Pod, which neither `kubectl logs` nor a log collector
sees. `tee` copies it, as a process of its own: the last words of one that is killed arrive too.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from contextlib import suppress

PATH = "LIMR_CONTAINER_OUTPUT"  # variable of the environment: the container's output as a file
FLUSH_SECONDS = 5.0


def copy_output() -> None:
    """From here on what this process and its children print also goes to the file that the environment names, if it
    does. Where that cannot be written, a line says so and nothing else changes."""
    path = os.environ.get(PATH)
    if path is None:
        return
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))  # tee itself would wait for a reader
        # A session of its own: what ends this process must not end it before the last words.
        tee = subprocess.Popen(["tee", "-i", "-p", "-a", path], stdin=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        words = f"limr: {path}: cannot be written ({error.strerror}), so `kubectl logs` does not show this stage's log"
        print(words, file=sys.stderr)
        return
    assert tee.stdin is not None
    sys.stdout.flush()
    before = os.dup(1), os.dup(2)
    _redirect(tee.stdin.fileno(), tee.stdin.fileno())
    tee.stdin.close()
    atexit.register(_end, tee, before)


def _redirect(stdout: int, stderr: int) -> None:
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)


def _end(tee: subprocess.Popen[bytes], before: tuple[int, int]) -> None:
    """Whoever reads the log when this process has ended finds all of it."""
    sys.stdout.flush()
    sys.stderr.flush()
    _redirect(*before)
    with suppress(subprocess.TimeoutExpired):  # a child that outlives this process still prints
        tee.wait(FLUSH_SECONDS)
