"""What `limr run` keeps on disk about an experiment: status, spec, attempts, logs, and a lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limr import stage_files
from limr.errors import LimrError
from limr.plan import Child, Status, immutable_changes
from limr.spec import Experiment
from limr.stage_files import StageFiles
from limr.store import disk


class RunFolder:
    """The experiment's own folder where it is stored on this machine, else one in the work directory."""

    def __init__(self, experiment: Experiment, workdir: Path) -> None:
        self.root = experiment.root
        name = Path(self.root).name
        self.path = workdir.absolute() / name if "://" in self.root else Path(self.root)
        self._status = self.path / "status.json"
        self._experiment = self.path / "experiment.json"
        self._attempts = self.path / "attempts"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the folder to this process. Raises LimrError when another one has it."""
        with disk.explained(self.path):
            self._attempts.mkdir(parents=True, exist_ok=True)
            (self.path / "logs").mkdir(exist_ok=True)
            lock = open(self.path / "lock", "a+")  # noqa: SIM115 - closed below, and by the end of the process
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read().strip() or "unknown"
                raise LimrError(
                    f"{self.path}: another `limr run` (process {owner}) is at work on this experiment; wait for it"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def start(self, experiment: Experiment) -> None:
        """Records the spec. Raises LimrError when the experiment has begun with one that gives other results."""
        before = stage_files.read(self._experiment, Experiment)
        changes = immutable_changes(before, experiment) if before else []
        if changes:
            raise LimrError(
                f"{self.path}: this experiment has begun with other values of {', '.join(changes)}; "
                "set them back, give the experiment another name, or remove that folder"
            )
        stage_files.write(self._experiment, experiment.model_dump_json(by_alias=True))

    def status(self) -> Status:
        return stage_files.read(self._status, Status) or Status()

    def store(self, status: Status) -> None:
        stage_files.write(self._status, status.to_json())

    def children(self) -> list[Child]:
        """Every attempt that was ever made."""
        names = (folder.name.rpartition("-") for folder in self._attempts.iterdir())
        return [Child(stage, int(attempt)) for stage, _, attempt in names]

    def files(self, child: Child) -> StageFiles:
        return StageFiles(self._attempts / f"{child.stage}-{child.attempt}")

    def log(self, child: Child) -> Path:
        return self.path / "logs" / f"{child.stage}-{child.attempt}.log"

    @property
    def ray_log(self) -> Path:
        return self.path / "logs" / "ray.log"

    @property
    def ray_link(self) -> Path:
        return self.path / "ray"


def last_lines(log: Path, count: int) -> list[str]:
    """The last non-empty lines of a log, as far as its last 16 KiB hold them."""
    try:
        with open(log, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 16384))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]
