"""What a stage prints comes to the log line by line, also to its container's output, and credentials do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.credentials import Mask
from limr.log_lines import FIELDS
from limr.stage_log import CONTAINER_OUTPUT, LONGEST_LINE, Output

SECONDS = 60
STAGE = "rl/demo/probe/2"
ABOUT = {"namespace": "rl", "experiment": "demo", "stage": "probe", "attempt": 2}
# Plays the container's first process: starts the stage with its log in a file, as Ray does, and waits for its end.
CONTAINER = """
import os, subprocess, sys
log, *command = sys.argv[1:]
environment = {**os.environ, "PYTHONUNBUFFERED": "1", "%s": f"/proc/{os.getpid()}/fd/1"}
with open(log, "wb") as output:
    done = subprocess.run(command, stdout=output, stderr=output, env=environment, timeout=60)
sys.exit(done.returncode)
"""
PROGRAM = """
import logging, os, signal, subprocess, sys
from limr import logs
from limr.stage_log import last_lines
logs.configure()
print("printed")
os.write(2, b"by a library \\xff\\n")
subprocess.run(["echo", "by a child"])
logging.getLogger("limr.train").info("step %d", 3)
"""
SAID = ["printed", "by a library \\xff", "by a child", "step 3"]


def command(program: str, *options: str) -> list[str]:
    mine = [sys.executable, "-m", "limr.stage_log", "--stage", STAGE, *options]
    return [*mine, "--", sys.executable, "-c", program]


def run(log: Path, program: str, *options: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, the container's output and the log file."""
    done = subprocess.run(
        [sys.executable, "-c", CONTAINER % CONTAINER_OUTPUT, str(log), *command(program, *options)],
        **{"capture_output": True, "text": True, "timeout": SECONDS, "check": False},
        env={**os.environ, **environment},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout, log.read_text()


def records(log: str) -> list[dict[str, Any]]:
    """Each line is a whole record."""
    found = [json.loads(line) for line in log.splitlines()]
    assert all({*FIELDS, *ABOUT} <= record.keys() for record in found)
    return found


@pytest.mark.parametrize(
    ("end", "status"), [("", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1)], ids=["well", "status", "crash"]
)
def test_all_of_it_is_in_both_places(tmp_path: Path, end: str, status: int) -> None:
    ended, output, log = run(tmp_path / "log", PROGRAM + end)
    assert ended == status
    assert output == log
    found = records(log)
    assert [record["message"] for record in found[:4]] == SAID
    assert all(record.items() >= ABOUT.items() for record in found)
    assert (found[3]["level"], found[3]["logger"]) == ("INFO", "limr.train")
    crashes = [record["exception"] for record in found if "exception" in record]
    assert [crash.splitlines()[-1] for crash in crashes] == ["ZeroDivisionError: division by zero"] * (end == "1 / 0")


def test_the_last_words_of_a_killed_process_arrive(tmp_path: Path) -> None:
    script = f"{PROGRAM}\nprint('last words', end='')\nos.kill(os.getpid(), signal.SIGKILL)"
    status, output, _ = run(tmp_path / "log", script)
    said = [record["message"] for record in records(output)]
    assert said == [*SAID, "last words", "the stage's process was ended by signal 9: Killed"]
    assert status == 128 + 9
    assert records(output)[-1]["logger"] == "limr.stage_log"


def test_a_process_is_asked_to_stop_and_ends_with_its_log() -> None:
    # The handler ends it, since the signal may come before the pause.
    waits = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit('asked')); print('up'); signal.pause()"
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": {**os.environ, "PYTHONUNBUFFERED": "1"}}
    with subprocess.Popen(command(waits), **both) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["message"] == "up"
        process.terminate()
        assert json.loads(process.stdout.readline())["message"] == "asked"
        assert process.wait(SECONDS) == 1
    with subprocess.Popen(command(waits), **both) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
        process.stdout.read()  # ends when its child has ended with it


def test_what_outlives_the_process_is_not_waited_for(tmp_path: Path) -> None:
    program = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid, flush=True)"
    status, output, _ = run(tmp_path / "log", program)
    os.kill(int(records(output)[0]["message"]), 9)
    assert status == 0


def test_a_process_knows_its_last_lines(tmp_path: Path) -> None:
    program = f"{PROGRAM}\nos.write(1, b'x' * 40_000)\nprint(); print('cut', end='')\nlines = last_lines()\nprint()\n"
    _, output, _ = run(tmp_path / "log", f"{program}print(lines)")
    assert records(output)[-1]["message"] == str(
        ("printed", "by a library \\xff", "by a child", "INFO step 3", "x" * 299 + "…", "cut")
    )


def test_credentials_are_masked(tmp_path: Path) -> None:
    says = "print('key hunter22/+', 's3://me:pw@host/b'); print(last_lines()[-1:]); raise ValueError('hunter22/+')"
    _, output, log = run(tmp_path / "log", f"{PROGRAM}\n{says}", AWS_SECRET_ACCESS_KEY="hunter22/+")
    assert "hunter22" not in output + log
    *_, key, last, crash = records(log)
    assert key["message"] == "key *** s3://***@host/b"
    assert last["message"] == "('key *** s3://***@host/b',)"
    assert crash["exception"].splitlines()[-1] == "ValueError: ***"


def test_where_it_cannot_be_written_a_line_says_so(tmp_path: Path) -> None:
    file = tmp_path / "log"
    environment = {**os.environ, CONTAINER_OUTPUT: "/proc/1/fd/none"}
    with file.open("wb") as log:
        subprocess.run(command(PROGRAM), stdout=log, stderr=log, env=environment, timeout=SECONDS, check=True)
    first, *others = records(file.read_text())
    assert first["message"] == (
        "/proc/1/fd/none: cannot be written (No such file or directory), so `kubectl logs` does not show this stage's "
        "log"
    )
    assert len(others) == 4


def test_a_file_that_fails_is_given_up(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full, (tmp_path / "log").open("wb") as good:
        output = Output([full.fileno(), good.fileno()], ABOUT, True, Mask({}))
        number = full.fileno()
        output.take(b"one\ntwo\n")
    said = [record["message"] for record in records((tmp_path / "log").read_text())]
    warning = f"the log is not written to file {number} any more: No space left on device"
    assert said == [warning, "one", "two"]


def test_text_stays_text(tmp_path: Path) -> None:
    _, output, _ = run(tmp_path / "log", PROGRAM, "--log-format", "text", "--log-level", "WARNING")
    assert output.splitlines() == SAID[:3]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_become_records_and_none_are_lost(chunks: list[bytes]) -> None:
    said = written(chunks)
    lines = b"".join(chunks).split(b"\n")
    assert [record["message"] for record in said] == [
        line.decode("utf-8", "backslashreplace") for line in lines if line
    ]
    assert all(record.items() >= ABOUT.items() for record in said)


def test_a_line_without_end_is_broken() -> None:
    words = b"word " * (LONGEST_LINE // 2) + b"x" * (LONGEST_LINE + 3)
    said = written([words[at : at + 65536] for at in range(0, len(words), 65536)])
    assert "".join(record["message"] for record in said).encode() == words
    assert all(len(record["message"]) <= LONGEST_LINE for record in said)


def written(chunks: list[bytes]) -> list[dict[str, Any]]:
    with tempfile.TemporaryFile() as file:
        output = Output([file.fileno()], ABOUT, True, Mask({}))
        for chunk in chunks:
            output.take(chunk)
        output.end()
        file.seek(0)
        return records(file.read().decode("ascii"))
