"""A training that costs nothing: its weights are the list of steps that led to them, so that history can be checked."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

import pyarrow as pa

from limr.stage import Ledger
from limr.store import digest, folders, layout
from limr.store.base import NotFound, Store
from limr.store.digest import FileRecord
from limr.store.journal import Journal
from limr.store.manifest import read_manifest
from limr.store.trajectories import iter_steps

STAGE = "probe"
PROMPTS = 3
SAMPLES = 2


def step_table(step: int, attempt: int) -> pa.Table:
    rows = [
        {"prompt_id": f"{prompt:016x}", "epoch": 1, "step": step, "sample": sample, "reward": float(attempt)}
        | {"verdict": "correct", "response_tokens": 7, "truncated": False, "policy_version": step - 1}
        | {"attempt": attempt, "mean_logprob": -0.5, "ratio_mean": 1.0, "ratio_max": 1.5}
        for prompt in range(PROMPTS)
        for sample in range(SAMPLES)
    ]
    return pa.Table.from_pylist(rows)


def text_table(step: int) -> pa.Table:
    key = {"epoch": 1, "step": step, "prompt": "question", "response": f"answer {step}"}
    return pa.Table.from_pylist([{**key, "prompt_id": f"{n:016x}", "sample": 0} for n in range(PROMPTS)])


class FileByFile:
    """An upload that sends one more file each time it is looked at, so that anything can happen in between."""

    def __init__(self, store: Store, files: dict[str, bytes], path: str) -> None:
        self._store = store
        self._left = dict(files)
        self._path = path
        self._sent: list[FileRecord] = []

    def files(self, wait_seconds: float) -> tuple[FileRecord, ...] | None:
        if self._left:
            name, data = next(iter(self._left.items()))
            with tempfile.TemporaryDirectory() as folder:
                (file := Path(folder) / "file").write_bytes(data)
                self._store.upload(file, f"{self._path}/{name}", move=True)
            self._sent.append(FileRecord(path=name, size=len(data), digest=digest.of_bytes(data)))
            del self._left[name]
        return None if self._left else tuple(self._sent)


class Training:
    """One attempt, as a trainer drives its journal. `weights` is [[step, attempt], …] of all steps so far."""

    def __init__(self, store: Store, attempt: int, *, keep: int = 2, padding: int = 0) -> None:
        self.attempt = attempt
        self._store = store
        self.journal = Journal.open(store, STAGE, attempt, keep=keep)
        self.weights: list[list[int]] = []
        self._padding = padding  # bytes that make checkpoints large
        if self.journal.manifest.finished:
            return
        with tempfile.TemporaryDirectory() as scratch:
            restored = Path(scratch) / "restored"
            if checkpoint := self.journal.restore(lambda path, records: folders.fetch(store, path, records, restored)):
                self.weights = json.loads((restored / "actor" / "weights.json").read_bytes())
                assert len(self.weights) == checkpoint.step

    def step(self, texts: bool = False) -> None:
        step = len(self.weights) + 1
        metrics = {"reward_mean": float(self.attempt), "loss": 1 / step}
        self.journal.add_step(step, 1, step_table(step, self.attempt), metrics, text_table(step) if texts else None)
        self.weights.append([step, self.attempt])

    def begin_commit(self) -> None:
        files = {"actor/weights.json": json.dumps(self.weights).encode(), "optimizer.bin": bytes(self._padding)}
        self.journal.begin_commit(len(self.weights), partial(FileByFile, self._store, files), self.ledger())

    def commit(self, checkpoint: bool = True) -> None:
        if checkpoint:
            self.begin_commit()
            self.journal.complete()
        else:
            self.journal.commit(len(self.weights), self.ledger())

    def finish(self) -> None:
        self.journal.finish({}, self.ledger())

    def settle(self) -> None:
        """Waits for the journal's thread, so that a test's crashes come at the same write every time."""
        if not self.journal.manifest.finished:
            self.journal._writer._thread.submit(lambda: None).result(60)

    def ledger(self) -> Ledger:
        return Ledger(rollouts=PROMPTS * SAMPLES * len(self.weights))


def check_history(store: Store) -> list[list[int]]:
    """Asserts that the manifest names every step once, as the weights saw it, with all its bytes there.

    Returns [[step, attempt], …].
    """
    try:
        manifest = read_manifest(store, STAGE)
    except NotFound:
        return []
    history = [[record.step, record.attempt] for record in manifest.steps]
    assert [step for step, _ in history] == list(range(1, len(history) + 1))
    for (step, attempt), table in zip(history, iter_steps(store, STAGE, manifest, verify=True), strict=True):
        assert table.equals(step_table(step, attempt).cast(table.schema))
    for record in manifest.steps:
        if record.texts:
            assert digest.of_bytes(store.get(layout.in_stage(STAGE, record.texts.path))) == record.texts.digest
    assert manifest.ledger.rollouts == PROMPTS * SAMPLES * len(history)
    for checkpoint in manifest.checkpoints:
        weights = store.get(layout.in_stage(STAGE, f"{checkpoint.path}/actor/weights.json"))
        assert json.loads(weights) == history[: checkpoint.step]
    return history


def check_nothing_else_is_there(store: Store) -> None:
    """Asserts that the stage's folder holds what the manifest names, and nothing more."""
    named = {layout.in_stage(STAGE, path) for path in read_manifest(store, STAGE).files()}
    assert {entry.path for entry in store.list(f"{STAGE}/")} == named | {layout.in_stage(STAGE, layout.MANIFEST)}
