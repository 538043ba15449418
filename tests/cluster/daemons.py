"""Servers that live as long as the test that started them."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster import leash

STOP_SECONDS = 10.0


class Daemon:
    """One process and its log. It is killed when this process ends, however that ends."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, leash.__file__, str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)


def wait_until(holds: Callable[[], bool], what: str, seconds: float, poll: float = 0.05) -> None:
    """Returns once `holds` does; raises TimeoutError that names `what`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(poll)


def wait_for_server(daemon: Daemon, ready: Callable[[], bool], seconds: float) -> None:
    """Raises RuntimeError with its last words when it ends or is not ready in time."""
    try:
        wait_until(lambda: not daemon.alive or ready(), daemon.name, seconds)
    except TimeoutError as error:
        raise RuntimeError(f"{daemon.name} was not ready in {seconds:.0f} s:\n{daemon.last_words()}") from error
    if not daemon.alive:
        raise RuntimeError(f"{daemon.name} ended while it started:\n{daemon.last_words()}")


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Whether there is a server that answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
