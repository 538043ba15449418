"""All learners of a stage, as the training loop sees them. They move together: if one is lost, the attempt is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from limr.actors import Actor, call_all, wait
from limr.devices import learner_options
from limr.learner.sharding import assign, index_paths
from limr.learner.types import LearnerSettings, Measured, StepBatch
from limr.rollout.group import Fingerprint
from limr.spec import Role
from limr.store.digest import FileRecord
from limr.store.folders import merged

# Mean absolute difference of log-probabilities, learner to engine, that rounding explains.
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.1}


_log = logging.getLogger(__name__)


class LearnersUpload:
    """The files of one checkpoint on their way from all learners to the store; see `limr.store.journal.Upload`."""

    def __init__(self, learners: Sequence[Actor], deadline_seconds: float) -> None:
        self._learners = learners
        self._deadline = deadline_seconds

    def files(self, wait_seconds: float) -> tuple[FileRecord, ...] | None:
        """All files, once the store has them; None when some are still on their way after `wait_seconds`."""
        parts = call_all(self._learners, "sent", wait_seconds, deadline_seconds=self._deadline)
        return None if None in parts else merged(parts)


class LearnerGroup:
    """`role.replicas` ranks of actor, critic and reference."""

    def __init__(self, role: Role, settings: LearnerSettings, wait_seconds: float) -> None:
        self._wait = wait_seconds
        self._root = settings.root
        self._tolerance = TOLERANCE[settings.dtype]
        self._learners = [
            Actor(f"learner {rank}", "limr.learner.learner:Learner", [settings, rank, role.replicas], options)
            for rank, options in enumerate([learner_options(role)] * role.replicas)
        ]
        self._machines: list[str] = []  # of each rank, known from the start on
        self.bytes_fetched: dict[str, int] = {}  # by each machine in the last `fetch`

    def start(self) -> None:
        """Joins the ranks into one process group and loads the models."""
        first = self._learners[0]
        self._call("start", wait(first, first.call("free_address"), self._wait))
        self._machines = self._call("machine")

    def measure(self, batch: StepBatch) -> Measured:
        """Fixes the step's experience. Per-response arrays come back in the batch's order."""
        parts: list[Measured] = self._call("measure", ray.put(batch))
        order = np.argsort(np.concatenate([part.indices for part in parts]))
        return Measured(
            indices=np.arange(len(order)),
            ratio_mean=np.concatenate([part.ratio_mean for part in parts])[order],
            ratio_max=np.concatenate([part.ratio_max for part in parts])[order],
            metrics=parts[0].metrics,
        )

    def update(self) -> dict[str, float]:
        metrics: dict[str, float] = self._call("update")[0]
        return metrics

    def publish(self, version: int, text: list[int]) -> tuple[ray.ObjectRef, Fingerprint]:
        """The policy's weights for `EngineGroup.sync`, and what the learner says about `text` with them."""
        bundles = [learner.call("weights", version) for learner in self._learners]
        answers: list[NDArray[np.float32]] = self._call("fingerprint", text)
        return bundles[0], Fingerprint(text, answers[0], self._tolerance)

    # Training state lies on the machines of the learners, in folders of the same name below each machine's scratch
    # folder. Each rank writes, sends and reads its own part.

    def hold(self, folder: Path) -> None:
        """Writes the training state to `folder` on the learners' machines."""
        self._call("hold", folder)

    def discard(self, folder: Path) -> None:
        self._call("discard", folder)

    def send(self, folder: Path, path: str) -> LearnersUpload:
        """Begins to move the training state in `folder` below `path` in the store, while other work goes on."""
        self._call("begin_sending", folder, path)
        return LearnersUpload(self._learners, self._wait)

    def save(self, folder: Path, path: str) -> LearnersUpload:
        """Begins to send the training state, as it is now, below `path` in the store, by way of `folder`."""
        self.hold(folder)
        return self.send(folder, path)

    def fetch(self, folder: Path, path: str, records: tuple[FileRecord, ...]) -> bool:
        """Copies to `folder`, on each machine, what its ranks need of the checkpoint at `path`, whose files `records`
        names; whether these files have the right bytes.

        Raises LimrError when the checkpoint is of another model or format.
        """
        self.discard(folder)
        self.bytes_fetched = dict.fromkeys(self._machines, 0)
        where = f"{self._root}/{path}"
        indexes = index_paths(records, where)
        if not self._fetch_files(folder, path, records, [indexes] * len(self._learners)):
            return False
        needed = self._call("files_needed", folder, where)
        whole = self._fetch_files(folder, path, records, needed)
        for machine, size in self.bytes_fetched.items():
            _log.info("%s: machine %s read %d bytes for its ranks", where, machine, size)
        return whole

    def _fetch_files(
        self, folder: Path, path: str, records: tuple[FileRecord, ...], needed: Sequence[Iterable[str]]
    ) -> bool:
        by_path = {record.path: record for record in records}
        assigned = assign(needed, self._machines)
        if not by_path.keys() >= {file for files in assigned for file in files}:
            return False  # an index names a file that the checkpoint does not have
        own = [[by_path[file] for file in files] for files in assigned]
        for machine, files in zip(self._machines, own, strict=True):
            self.bytes_fetched[machine] += sum(record.size for record in files)
        return all(self._call("fetch", path, own, folder))

    def restore(self, folder: Path) -> None:
        """Goes on exactly where the state in `folder` was saved."""
        self._call("restore", folder)

    def export(self, folder: Path, path: str) -> tuple[FileRecord, ...]:
        """Sends the policy in Hugging Face form below `path` in the store, by way of `folder`."""
        self._call("export", folder)
        first = self._learners[0]
        records: tuple[FileRecord, ...] = wait(first, first.call("send", folder, path), self._wait)
        return records

    def close(self) -> None:
        for learner in self._learners:
            learner.kill()

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        return call_all(self._learners, method, *arguments, deadline_seconds=self._wait)
