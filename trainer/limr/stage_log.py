"""Runs a stage's process and carries what it prints to where logs are read: `python -m limr.stage_log … -- COMMAND`.

Each line becomes one JSON object that names the stage, also what libraries print, and credentials are masked. The
process may be killed at any moment: its last words arrive all the same, and its last lines are kept for its result.
In a Ray cluster what a job prints goes to a file of the head Pod, which neither `kubectl logs` nor a log collector
sees: there it goes to the container's output too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from limr import logs
from limr.credentials import Mask
from limr.lifeline import die_with_parent
from limr.log_lines import LINES, bounded, readable, structured

# Variables of the environment.
CONTAINER_OUTPUT = "LIMR_CONTAINER_OUTPUT"  # the container's output as a file
LAST_LINES = "LIMR_LAST_LINES"  # number of the socket that answers with the last lines

LOGGER = "limr.stage_log"
STAGE_FIELDS = ("namespace", "experiment", "stage", "attempt")
LONGEST_LINE = 2**20  # bytes; a longer one is broken
PIPE_BYTES = 2**20  # no pipe holds more, so that one read takes all there is
POLL_SECONDS = 1.0
FLUSH_SECONDS = 5.0  # for children that outlive the process and still print
ANSWER_SECONDS = 10.0


def main(arguments: Sequence[str]) -> int:
    """The exit status of the command, or 128 and the number of the signal that ended it."""
    options = _options(arguments)
    sinks, problem = _sinks(os.environ.get(CONTAINER_OUTPUT))
    output = Output(sinks, _about(options.stage), options.log_format == "json", Mask(os.environ))
    if problem:
        output.say("WARNING", problem)
    ours, theirs = socket.socketpair()
    environment = {logs.FORMAT: options.log_format, logs.LEVEL: options.log_level, LAST_LINES: str(theirs.fileno())}
    process = subprocess.Popen(
        options.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        pass_fds=[theirs.fileno()],
        preexec_fn=partial(die_with_parent, os.getpid()),  # no threads are here
    )
    theirs.close()
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ours:
        _carry(process, ours, output)
    status = process.wait()
    if status >= 0:
        return status
    output.say("ERROR", f"the stage's process was ended by signal {-status}: {signal.strsignal(-status)}")
    return 128 - status


def last_lines() -> tuple[str, ...]:
    """What this process has printed last, as a status may hold it; nothing where this module did not start it."""
    number = os.environ.get(LAST_LINES)
    if number is None:
        return ()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        with socket.socket(fileno=os.dup(int(number))) as answering:
            answering.settimeout(ANSWER_SECONDS)
            answering.sendall(b"?")
            with answering.makefile() as answer:
                return tuple(json.loads(answer.readline()))
    except (OSError, ValueError):
        return ()


class Output:
    """Takes what was printed, and writes it line by line to files that may fail."""

    def __init__(self, sinks: Sequence[int], about: Mapping[str, object], as_json: bool, mask: Mask) -> None:
        self._sinks = list(sinks)
        self._about = about
        self._as_json = as_json
        self._mask = mask
        self._rest = b""
        self._last: deque[str] = deque(maxlen=LINES)

    @property
    def last_lines(self) -> tuple[str, ...]:
        return bounded([*self._last, *readable(self._mask(_decoded(self._rest)))])

    def take(self, printed: bytes) -> None:
        *lines, self._rest = (self._rest + printed).split(b"\n")
        for line in lines:
            self._write(_decoded(line))
        while len(self._rest) > LONGEST_LINE:
            cut = self._rest.rfind(b" ", 0, LONGEST_LINE) + 1 or LONGEST_LINE  # a space is in no credential
            self._write(_decoded(self._rest[:cut]))
            self._rest = self._rest[cut:]

    def end(self) -> None:
        self._write(_decoded(self._rest))
        self._rest = b""

    def say(self, level: str, message: str) -> None:
        """A line of our own."""
        record = {"time": datetime.now(UTC).isoformat(), "level": level, "logger": LOGGER, "message": message}
        self._write(json.dumps(record) if self._as_json else f"{level} {message}")

    def _write(self, line: str) -> None:
        if not line:
            return
        line = structured(line, self._about, datetime.now(UTC), self._mask) if self._as_json else self._mask(line)
        self._last.extend(text for text in readable(line) if text.strip())
        for sink in list(self._sinks):
            try:
                _write_all(sink, f"{line}\n".encode())
            except OSError as error:  # the stage goes on without this copy of its log
                self._sinks.remove(sink)
                self.say("WARNING", f"the log is not written to file {sink} any more: {error.strerror}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="limr.stage_log", description=__doc__)
    parser.add_argument("--stage", required=True, metavar="/".join(STAGE_FIELDS).upper(), help="that the log is of")
    parser.add_argument("--log-format", default="json", choices=logs.FORMATS)
    parser.add_argument("--log-level", default="INFO", choices=logs.LEVELS)
    parser.add_argument("command", nargs="+", help="of the stage's process, after --")
    return parser.parse_args(arguments)


def _about(stage: str) -> dict[str, object]:
    namespace, experiment, name, attempt = stage.split("/")
    return dict(zip(STAGE_FIELDS, (namespace, experiment, name, int(attempt)), strict=True))


def _sinks(container_output: str | None) -> tuple[list[int], str]:
    """File numbers to write to, and what is wrong with the container's output, if that is to be among them."""
    if container_output is None:
        return [1], ""
    try:
        opened = os.open(container_output, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)  # or it would wait for a reader
    except OSError as error:
        return [1], (
            f"{container_output}: cannot be written ({error.strerror}), so `kubectl logs` does not show this stage's "
            "log"
        )
    os.set_blocking(opened, True)
    return [1, opened], ""


def _carry(process: subprocess.Popen[bytes], requests: socket.socket, output: Output) -> None:
    """Returns when nobody can print any more."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    end = math.inf
    with selectors.DefaultSelector() as selector, process.stdout:
        selector.register(pipe, selectors.EVENT_READ)
        selector.register(requests, selectors.EVENT_READ)
        while time.monotonic() < end:
            ready = {key.fileobj for key, _ in selector.select(POLL_SECONDS)}
            with suppress(BlockingIOError):
                printed = os.read(pipe, PIPE_BYTES)
                if not printed:
                    break
                output.take(printed)
            if requests in ready:  # after all that was printed before it
                if requests.recv(1):
                    requests.sendall(json.dumps(output.last_lines).encode() + b"\n")
                else:
                    selector.unregister(requests)
            if end == math.inf and process.poll() is not None:
                end = time.monotonic() + FLUSH_SECONDS
    output.end()


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def _write_all(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
