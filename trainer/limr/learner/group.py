"""All learners of a stage, as the training loop sees them. They move together: if one is lost, the attempt is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from limr.actors import Actor, call_all, wait
from limr.devices import learner_options
from limr.learner.types import LearnerSettings, Measured, NonFinite, StepBatch
from limr.rollout.group import Fingerprint
from limr.spec import Role
from limr.store.digest import FileRecord
from limr.store.folders import merged

# Mean absolute difference of log-probabilities, learner to engine, that rounding explains.
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.1}


class LearnerGroup:
    """`role.replicas` ranks of actor, critic and reference."""

    def __init__(self, role: Role, settings: LearnerSettings, wait_seconds: float) -> None:
        self._wait = wait_seconds
        self._tolerance = TOLERANCE[settings.dtype]
        self._learners = [
            Actor(f"learner {rank}", "limr.learner.learner:Learner", [settings, rank, role.replicas], options)
            for rank, options in enumerate([learner_options(role)] * role.replicas)
        ]
        self._firsts: list[Actor] = []  # one on each machine, known from the start on

    def start(self) -> None:
        """Joins the ranks into one process group and loads the models."""
        first = self._learners[0]
        self._call("start", wait(first, first.call("free_address"), self._wait))
        machines = dict(zip(reversed(self._call("machine")), reversed(self._learners), strict=True))
        self._firsts = list(reversed(machines.values()))

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
        """The policy's weights for `EngineGroup.sync`, and what the learner says about `text` with them.

        Raises NonFinite when that is not finite: weights can be finite and too large to compute with.
        """
        bundles = [learner.call("weights", version) for learner in self._learners]
        answers: list[NDArray[np.float32]] = self._call("fingerprint", text)
        if not np.isfinite(answers[0]).all():
            raise NonFinite(f"the policy's log-probabilities of a prompt were not finite after step {version}")
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
