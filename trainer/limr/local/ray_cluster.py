"""The Ray cluster that all stages of a run share: started when the first one needs it, and again should it die."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from limr.errors import LimrError
from limr.local.folder import last_lines

START_SECONDS = 180.0
STOP_SECONDS = 20.0


FOLDER_PREFIX = "limr-ray-"


class RayCluster:
    """`link` will lead to Ray's own folder, and through it a later run removes what a killed one left."""

    def __init__(self, log: Path, link: Path) -> None:
        self._log = log
        self._link = link
        self._head: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._secrets: dict[str, str] = {}

    @property
    def alive(self) -> bool:
        return self._head is not None and self._head.poll() is None

    def environment(self) -> Mapping[str, str]:
        """What a process needs to join; starts the cluster where none is alive. Raises LimrError if it does not."""
        if not self.alive:
            self.stop()
            self._start()
        return {**self._secrets, "RAY_ADDRESS": (self._folder / "address").read_text()}

    def stop(self) -> None:
        if self._head is None:
            return
        self._head.terminate()
        try:
            self._head.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._head.pid, signal.SIGKILL)
            self._head.wait(STOP_SECONDS)
        self._remove_folder()
        self._head = None

    def _remove_folder(self) -> None:
        if self._link.is_symlink():
            folder = self._link.readlink()
            if folder.name.startswith(FOLDER_PREFIX):
                shutil.rmtree(folder, ignore_errors=True)
            self._link.unlink()

    def _start(self) -> None:
        self._remove_folder()
        # Short, because Ray puts sockets there, whose paths may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self._link.symlink_to(self._folder)
        self._secrets = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too this binds Ray to 127.0.0.1 alone
        }
        arguments = ["--folder", str(self._folder), "--parent", str(os.getpid())]
        with open(self._log, "ab") as log:
            self._head = subprocess.Popen(
                [sys.executable, "-m", "limr.local.ray_head", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._secrets},
                start_new_session=True,
            )
        self._wait_for_address(self._head)

    def _wait_for_address(self, head: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (self._folder / "address").exists():
            if head.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            words = " ".join(last_lines(self._log, 1)) or "nothing"
            self.stop()
            raise LimrError(
                f"Ray did not start within {START_SECONDS:.0f} seconds; its last words: {words}; "
                f"read {self._log} and look for memory or ports that are used up"
            )
