"""All learners of a stage, as the training loop sees them. They move together: if one is lost, the attempt is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from limr.actors import Actor, Watch, Work, results, submit, wait
from limr.devices import actor_options
from limr.learner.delivery import BroadcastPeers, LearnerWeights
from limr.learner.sharding import assign, index_paths
from limr.learner.types import LearnerSettings, Measured, NonFinite, StepBatch
from limr.rollout.proof import Fingerprint
from limr.store.digest import FileRecord
from limr.store.folders import merged
from limr.topology import DeviceKind, Workers, ranks

LEARNER = "limr.learner.learner:Learner"

# Called after each minibatch or update of a part of a step; what it raises ends the part.
Report = Callable[[Work], None]

# Mean absolute difference of log-probabilities, learner to engine, that rounding explains.
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.1}


_log = logging.getLogger(__name__)


class LearnersUpload:
    """The files of one checkpoint on their way from all learners to the store; see `limr.store.journal.Upload`."""

    def __init__(self, learners: Sequence[Actor], deadline_seconds: float, watch: Watch | None) -> None:
        self._learners = learners
        self._deadline = deadline_seconds
        self._watch = watch

    def files(self, wait_seconds: float) -> tuple[FileRecord, ...] | None:
        """All files, once the store has them; None when some are still on their way after `wait_seconds`."""
        calls = {learner.call_beside("sent", wait_seconds): learner for learner in self._learners}
        parts = results(calls, self._deadline, self._watch)
        return None if None in parts else merged(parts)


class LearnerGroup:
    """Ranks of actor, critic and reference, one in each of `workers`, each made by `factory`.

    `watch` is called while something is waited for.
    """

    def __init__(
        self,
        workers: Workers,
        settings: LearnerSettings,
        wait_seconds: float,
        watch: Watch | None = None,
        factory: str = LEARNER,
    ) -> None:
        self._wait = wait_seconds
        self._watch = watch
        self._root = settings.root
        self._tolerance = TOLERANCE[settings.dtype]
        options, arguments = actor_options(workers), [settings, workers.kind]
        self._learners = [Actor(f"learner {number}", factory, arguments, options) for number in range(workers.actors)]
        self._kind = workers.kind
        self._broadcast: BroadcastPeers | None = None
        self._machines: list[str] = []  # of each rank, known from the start on
        self.bytes_fetched: dict[str, int] = {}  # by each machine in the last `fetch`

    @property
    def actors(self) -> list[Actor]:
        return self._learners

    def start(self) -> None:
        """Joins the ranks into one process group and loads the models."""
        machines = self._call("machine")
        placed = sorted(zip(ranks(machines), self._learners, machines, strict=True), key=lambda one: one[0].number)
        ranked = [(rank, learner) for rank, learner, _ in placed]
        self._learners = [learner for _, learner in ranked]
        self._machines = [machine for _, _, machine in placed]
        for rank, learner in ranked:
            learner.who = f"learner {rank.number}"
        first = self._learners[0]
        address = wait(first, first.call("free_address"), self._wait, self._watch)
        self._results({learner.call("start", rank, address): learner for rank, learner in ranked})
        if self._kind is DeviceKind.CUDA:
            self._broadcast = BroadcastPeers(first, self._wait, self._watch)

    def measure(self, batch: StepBatch, report: Report | None = None) -> Measured:
        """Fixes the step's experience. Per-response arrays come back in the batch's order."""
        count = self._call("begin_step", ray.put(batch))[0]
        self._one_by_one("measure_minibatch", count, report)
        parts: list[Measured] = self._call("finish_measuring")
        order = np.argsort(np.concatenate([part.indices for part in parts]))
        return Measured(
            indices=np.arange(len(order)),
            ratio_mean=np.concatenate([part.ratio_mean for part in parts])[order],
            ratio_max=np.concatenate([part.ratio_max for part in parts])[order],
            metrics=parts[0].metrics,
        )

    def update(self, report: Report | None = None) -> dict[str, float]:
        """Makes the step's optimizer updates. Where `report` ended them, only `restore` brings back a known state."""
        self._one_by_one("update", self._call("begin_updates")[0], report)
        metrics: dict[str, float] = self._call("finish_updates")[0]
        return metrics

    def publish(self, version: int, text: list[int]) -> tuple[LearnerWeights, Fingerprint]:
        """The policy's weights for `EngineGroup.sync`, good until the next update, and its log-probabilities of `text`.

        The weights leave the learners when an engine asks for them. Raises NonFinite when the log-probabilities are
        not finite: weights can be finite and too large to compute with.
        """
        answers: list[NDArray[np.float32]] = self._call("fingerprint", text)
        if not np.isfinite(answers[0]).all():
            raise NonFinite(f"the policy's log-probabilities of a prompt were not finite after step {version}")
        weights = LearnerWeights(self._learners, version, self._wait, self._broadcast, self._watch)
        return weights, Fingerprint(text, answers[0], self._tolerance)

    # Training state lies on the machines of the learners, in folders of the same name below each machine's scratch
    # folder. Each rank writes, sends and reads its own part.

    def hold(self, folder: Path) -> None:
        """Writes the training state to `folder` on the learners' machines."""
        self._call("hold", folder)

    def discard(self, folder: Path) -> None:
        self._call("discard", folder)

    def send(self, folder: Path, path: str) -> LearnersUpload:
        """Begins to move the training state in `folder` below `path` in the store, while other work goes on."""
        calls = {learner.call_beside("begin_sending", folder, path): learner for learner in self._learners}
        self._results(calls)
        return LearnersUpload(self._learners, self._wait, self._watch)

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
        records: tuple[FileRecord, ...] = wait(first, first.call("send", folder, path), self._wait, self._watch)
        return records

    def close(self) -> None:
        for learner in self._learners:
            learner.kill()

    def _one_by_one(self, method: str, count: int, report: Report | None) -> None:
        """Calls `method` with 0 to `count` − 1. The next call always waits at the learners, so that none is idle."""
        calls = submit(self._learners, method, 0)
        for done in range(1, count + 1):
            following = submit(self._learners, method, done) if done < count else {}
            self._results(calls)
            calls = following
            if report is not None:
                report(Work(done, count))

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        return self._results(submit(self._learners, method, *arguments))

    def _results(self, calls: dict[Any, Actor]) -> list[Any]:
        return results(calls, self._wait, self._watch)
