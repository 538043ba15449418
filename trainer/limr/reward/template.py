"""The inside of the template process, which imports and warms up once and then forks the grading processes.

It is a fresh interpreter with one thread, so that forking is safe. It is not multiprocessing's fork server: there is
one of those for the whole program, it brings the program's main module (with torch) along, and it cannot be asked to
kill.

On the control socket, one message a packet: in come "fork <key>", with the descriptor that the new process serves, and
"kill <key>"; out go "up", once, and "<key> <exit status>" of each process that ended (negative: the signal).
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from typing import NoReturn

from limr.lifeline import die_with_parent
from limr.reward import worker

UP = "up"
PACKET = 64  # bytes, more than any message


def main() -> None:
    """Forks until the parent closes the control socket. Returns only in the forked processes, when they have served.

    Arguments of the program: the control socket's descriptor, the parent's process id, worker.Settings as JSON.
    """
    descriptor, parent, settings = sys.argv[1:]
    die_with_parent(int(parent))
    control = socket.socket(fileno=int(descriptor))
    limits = worker.Settings(**json.loads(settings))
    if limits.function is None:  # a person's own module is not: it might not survive a fork
        worker.warm_up()
    gc.freeze()  # what is here stays shared memory: the collector of a forked process does not touch it
    control.send(UP.encode())
    worker.serve(Template(control).run(), limits)


class Template:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._processes: dict[int, tuple[int, int]] = {}  # process descriptor -> key, process id

    def run(self) -> int:
        """Returns in each forked process, with the descriptor to serve; the template itself exits from here."""
        try:
            while True:
                for descriptor, _ in self._poll.poll():
                    if descriptor in self._processes:
                        self._reap(descriptor)
                    elif (connection := self._obey()) is not None:
                        return connection
        except ConnectionError:  # the parent has closed the control socket
            self._leave()

    def _obey(self) -> int | None:
        """One command; what it returns, it returns in a forked process."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, PACKET, 1)
        if not packet:
            raise ConnectionError
        command, key = packet.decode().split()
        if command == "fork":
            return self._fork(int(key), descriptors[0])
        self._kill(int(key))
        return None

    def _fork(self, key: int, connection: int) -> int | None:
        template = os.getpid()
        process = os.fork()
        if process == 0:
            die_with_parent(template)
            self._control.close()
            for descriptor in self._processes:
                os.close(descriptor)
            return connection
        os.close(connection)
        descriptor = os.pidfd_open(process)
        self._processes[descriptor] = key, process
        self._poll.register(descriptor, select.POLLIN)
        return None

    def _kill(self, key: int) -> None:
        for known, process in self._processes.values():
            if known == key:
                os.kill(process, signal.SIGKILL)

    def _reap(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        os.close(descriptor)
        key, process = self._processes.pop(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self._control.send(f"{key} {status}".encode())

    def _leave(self) -> NoReturn:
        for _, process in self._processes.values():
            os.kill(process, signal.SIGKILL)
        for _, process in self._processes.values():
            os.waitpid(process, 0)
        sys.exit()
