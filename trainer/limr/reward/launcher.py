"""The trainer's side of the template process (limr.reward.template), from which grading processes are forked.

With it sixteen processes cost one import (2 s) and share its memory, and the successor of a killed one is there at
once. When the trainer dies, however it dies, the kernel kills the template, and with it the processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from multiprocessing.connection import Connection

from limr.reward.template import PACKET, UP
from limr.reward.worker import Settings

EXIT_SECONDS = 5.0  # for the template to do what takes it a millisecond
LOST = -signal.NSIG  # in place of the exit status of a process that went down with the template

_PROGRAM = "from limr.reward.template import main; main()"


class Launcher:
    """Forks and ends processes, each named by a key. A template that died is replaced when it is needed again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._template: _Template | None = None
        self._next_key = 0

    def fork(self) -> tuple[int, Connection]:
        """The key of a new process and our end of its connection, at once: the process appears when it can."""
        self._next_key += 1
        ours, theirs = socket.socketpair()
        with theirs:
            if self._template is None or not self._template.fork(self._next_key, theirs):
                self.close()
                self._template = _Template(self._settings)
                self._template.fork(self._next_key, theirs)
        return self._next_key, Connection(ours.detach())

    def end(self, key: int, grace: float) -> int:
        """Waits for a process to end, after `grace` seconds by killing it. Returns its exit status."""
        if self._template is None:
            return LOST
        status = self._template.status(key, grace)
        if status is None:
            self._template.kill(key)
            status = self._template.status(key, EXIT_SECONDS)
        if status is None:
            self.close()
        return LOST if status is None else status

    def close(self) -> None:
        """Ends the template and every process."""
        if self._template is not None:
            self._template.close()
            self._template = None


class _Template:
    def __init__(self, settings: Settings) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._up = False
        self._running: set[int] = set()  # keys
        self._statuses: dict[int, int] = {}  # of processes that ended, until somebody asks
        with theirs:
            self._popen = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    _PROGRAM,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    json.dumps(asdict(settings)),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a reward function prints must not mix with our output
                process_group=0,  # Ctrl-C is for the trainer, which then closes the pool
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    "PYTHONHASHSEED": "0",  # SymPy walks through sets: in the same order in every process and run
                },
            )

    def fork(self, key: int, connection: socket.socket) -> bool:
        """False when the template is dead."""
        try:
            socket.send_fds(self._control, [f"fork {key}".encode()], [connection.fileno()])
        except OSError:
            return False
        self._running.add(key)
        return True

    def kill(self, key: int) -> None:
        with contextlib.suppress(OSError):  # dead, and the process with it
            self._control.send(f"kill {key}".encode())

    def status(self, key: int, seconds: float) -> int | None:
        """The exit status of a process, None if it still runs after so long."""
        deadline = time.monotonic() + seconds
        while key in self._running:
            if not self._receive(max(0.0, deadline - time.monotonic())) and key in self._running:
                return None
        return self._statuses.pop(key, LOST)

    def close(self) -> None:
        while self._receive(0):
            pass
        self._control.close()
        try:
            self._popen.wait(EXIT_SECONDS if self._up else 0)  # before it is up it does not listen
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _receive(self, seconds: float) -> bool:
        """Takes one message, if one comes within so many seconds."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        try:
            packet = self._control.recv(PACKET)
        except ConnectionError:
            packet = b""
        if not packet:  # the template died, and its processes with it
            self._running.clear()
        elif packet == UP.encode():
            self._up = True
        else:
            key, status = map(int, packet.split())
            self._running.remove(key)
            self._statuses[key] = status
        return bool(packet)
