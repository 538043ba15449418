"""All learners of a stage, as the training loop sees them. They move together: if one is lost, the attempt is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from limr.actors import Actor, Watch, Work, results, submit, wait
from limr.devices import actor_options
from limr.learner.delivery import BroadcastPeers, LearnerWeights
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
        self._tolerance = TOLERANCE[settings.dtype]
        options, arguments = actor_options(workers), [settings, workers.kind]
        self._learners = [Actor(f"learner {number}", factory, arguments, options) for number in range(workers.actors)]
        self._kind = workers.kind
        self._broadcast: BroadcastPeers | None = None
        self._firsts: list[Actor] = []  # one on each machine, known from the start on

    @property
    def actors(self) -> list[Actor]:
        return self._learners

    def start(self) -> None:
        """Joins the ranks into one process group and loads the models."""
        placed = ranks(self._call("machine"))
        ranked = sorted(zip(placed, self._learners, strict=True), key=lambda pair: pair[0].number)
        self._learners = [learner for _, learner in ranked]
        for rank, learner in ranked:
            learner.who = f"learner {rank.number}"
        self._firsts = [learner for rank, learner in ranked if rank.local_number == 0]
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

    # Training state lies on the machines of the learners: each writes to, or reads from, a local folder of the same
    # name, and one learner on each machine brings its files to the store or has them from there.

    def save(self, folder: Path, path: str) -> tuple[FileRecord, ...]:
        """Sends the training state below `path` in the store, by way of `folder`."""
        self.hold(folder)
        return self.send(folder, path)

    def hold(self, folder: Path) -> None:
        """Writes the training state to `folder`, from where `send` can bring it to the store later."""
        self._call("save", folder)

    def send(self, folder: Path, path: str) -> tuple[FileRecord, ...]:
        """Moves what `hold` has written to `folder` below `path` in the store."""
        return merged(self._results({learner.call_beside("send", folder, path): learner for learner in self._firsts}))

    def discard(self, folder: Path) -> None:
        """Removes what `hold` has written to `folder`."""
        self._results(submit(self._firsts, "discard", folder))

    def fetch(self, folder: Path, path: str, records: tuple[FileRecord, ...]) -> bool:
        """Has the training state at `path` copied to `folder` on every machine; whether it holds the right bytes."""
        return all(self._results(submit(self._firsts, "fetch", path, records, folder)))

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
