"""All learners of a stage, as the training loop sees them. They move together: if one is lost, the attempt is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from limr.actors import Actor, call_all, call_each, wait
from limr.devices import actor_options
from limr.learner.types import LearnerSettings, Measured, StepBatch
from limr.rollout.group import Fingerprint
from limr.store.digest import FileRecord
from limr.store.folders import merged
from limr.topology import Workers, ranks

# Mean absolute difference of log-probabilities, learner to engine, that rounding explains.
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.1}


class LearnerGroup:
    """Ranks of actor, critic and reference, one in each of `workers`."""

    def __init__(self, workers: Workers, settings: LearnerSettings, wait_seconds: float) -> None:
        self._wait = wait_seconds
        self._tolerance = TOLERANCE[settings.dtype]
        options, arguments = actor_options(workers), [settings, workers.kind]
        self._learners = [
            Actor(f"learner {number}", "limr.learner.learner:Learner", arguments, options)
            for number in range(workers.actors)
        ]
        self._firsts: list[Actor] = []  # one on each machine, known from the start on

    def start(self) -> None:
        """Joins the ranks into one process group and loads the models."""
        placed = ranks(self._call("machine"))
        ranked = sorted(zip(placed, self._learners, strict=True), key=lambda pair: pair[0].number)
        self._learners = [learner for _, learner in ranked]
        for rank, learner in ranked:
            learner.who = f"learner {rank.number}"
        self._firsts = [learner for rank, learner in ranked if rank.local_number == 0]
        first = self._learners[0]
        address = wait(first, first.call("free_address"), self._wait)
        call_each([(learner, ("start", rank, address)) for rank, learner in ranked], self._wait)

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

    # Training state lies on the machines of the learners: each writes to, or reads from, a local folder of the same
    # name, and one learner on each machine brings its files to the store or has them from there.

    def save(self, folder: Path, path: str) -> tuple[FileRecord, ...]:
        """Sends the training state below `path` in the store, by way of `folder`."""
        self._call("save", folder)
        return merged(call_all(self._firsts, "send", folder, path, deadline_seconds=self._wait))

    def fetch(self, folder: Path, path: str, records: tuple[FileRecord, ...]) -> bool:
        """Has the training state at `path` copied to `folder` on every machine; whether it holds the right bytes."""
        return all(call_all(self._firsts, "fetch", path, records, folder, deadline_seconds=self._wait))

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
