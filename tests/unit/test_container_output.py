"""A stage's log also comes to its container's output, which is another process's standard output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from limr.container_output import PATH

SECONDS = 60
# Plays the container's first process: starts the stage with its log in a file, as Ray does, and waits for its end.
CONTAINER = """
import os, subprocess, sys
log, program = sys.argv[1:]
environment = {**os.environ, "PYTHONUNBUFFERED": "1", "%s": f"/proc/{os.getpid()}/fd/1"}
with open(log, "wb") as output:
    subprocess.run([sys.executable, "-c", program], stdout=output, stderr=output, env=environment, timeout=60)
"""
STAGE = """
import os, signal, subprocess, sys
from limr.container_output import copy_output
print("before")
copy_output()
print("printed")
os.write(2, b"by a library\\n")
subprocess.run(["echo", "by a child"])
"""


def run(log: Path, program: str) -> tuple[str, str]:
    """The container's output and the log file."""
    command = [sys.executable, "-c", CONTAINER % PATH, str(log), program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout, log.read_text()


@pytest.mark.parametrize("end", ["", "raise SystemExit(1)", "1 / 0"], ids=["well", "status", "crash"])
def test_all_of_it_is_in_both_places(tmp_path: Path, end: str) -> None:
    output, log = run(tmp_path / "log", STAGE + end)
    assert output.startswith("printed\nby a library\nby a child\n")
    assert log == f"before\n{output}"
    assert ("ZeroDivisionError" in output) == (end == "1 / 0")


def test_the_last_words_of_a_killed_process_arrive(tmp_path: Path) -> None:
    script = f"{STAGE}\nprint('last words')\nos.kill(os.getpid(), signal.SIGKILL)"
    output, _ = run(tmp_path / "log", script)  # ends when nobody can write any more
    assert output.splitlines()[-1] == "last words"


def test_where_it_cannot_be_written_a_line_says_so(tmp_path: Path) -> None:
    program = f"import os; os.environ['{PATH}'] = '/proc/1/fd/none'\n{STAGE}"
    output, log = run(tmp_path / "log", program)
    assert output == ""
    assert log.splitlines()[1] == (
        "limr: /proc/1/fd/none: cannot be written (No such file or directory), so `kubectl logs` does not show this "
        "stage's log"
    )
    assert log.splitlines()[-1] == "by a child"


def test_on_a_laptop_nothing_happens(tmp_path: Path) -> None:
    output, log = run(tmp_path / "log", f"import os; del os.environ['{PATH}']\n{STAGE}")
    assert output == ""
    assert log == "before\nprinted\nby a library\nby a child\n"
