"""A stage whose steps trackers are told of, and readers of what they made of it."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorboardX  # noqa: F401 - takes seconds, which no tracker is to lose at its end
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

from limr import validate
from limr.stage import Ledger, Progress, StageInput, StageKind, StageRef
from limr.store import open_store
from limr.store.digest import FileRecord, of_bytes
from limr.store.journal import Journal
from limr.store.trajectories import TRAJECTORIES
from limr.tracking.reporter import tracked

STAGE = "train-lim-s1"
STEPS = 6  # of the stage; a checkpoint follows every second

Points = list[tuple[int, float]]


class Listener:
    """Whoever started the stage."""

    def progress(self, progress: Progress) -> None: ...

    def step(self, metrics: Mapping[str, float], responses: Mapping[str, Collection[float]]) -> None: ...

    def beat(self) -> None: ...

    def stop_requested(self) -> bool:
        return False


class TrackedStage:
    """A stage in `folder`, whose attempts make steps without any model. A step's reward is the step's number."""

    def __init__(self, folder: Path, *trackers: Mapping[str, Any]) -> None:
        self.folder = folder
        self.spec = {"model": {"uri": "m"}, "dataset": {"uri": "/d.json"}, "storage": {"uri": str(folder)}}
        self.track_by(*trackers)
        self.store = open_store(self.input().root)
        self._attempt = 0

    def track_by(self, *trackers: Mapping[str, Any]) -> None:
        self.manifest = {
            "apiVersion": "limr.dev/v1alpha1",
            "kind": "LIMRExperiment",
            "metadata": {"name": "demo"},
            "spec": {**self.spec, "tracking": list(trackers)},
        }

    def input(self, attempt: int = 1) -> StageInput:
        experiment = validate.from_manifest(self.manifest)
        ref = StageRef(name=STAGE, kind=StageKind.TRAINING, arm="lim", seed=1)
        return StageInput(experiment=experiment, stage=ref, attempt=attempt, root=experiment.root)

    def attempt(self, *, until: int = STEPS) -> None:
        """An attempt that goes on from the last checkpoint and crashes after step `until`, unless that is the last."""
        self._attempt += 1
        try:
            stage_input = self.input(self._attempt)
            with tracked(stage_input, self.store, Listener()) as reporter, self._journal() as journal:
                checkpoint = journal.restore(lambda path, files: True)
                for step in range(checkpoint.step + 1 if checkpoint else 1, until + 1):
                    metrics = {"reward_mean": float(step), "kl": 0.5}
                    journal.add_step(step, 1, TRAJECTORIES.empty_table(), metrics)
                    reporter.step(metrics | {"step": step, "store_queue": 1}, {})
                    if step % 2 == 0:
                        journal.begin_commit(step, Saved, Ledger())
                        journal.complete()
                    reporter.progress(Progress(updated_at=0, step=step, steps=STEPS))
                if until < STEPS:
                    raise Crash
                journal.finish({}, Ledger())
        except Crash:
            pass

    @property
    def tracking(self) -> Path:
        return self.folder / "default" / "demo" / STAGE / "tracking"

    def _journal(self) -> Journal:
        return Journal.open(self.store, STAGE, self._attempt)


class Crash(Exception):
    """The stage is no more."""


class Saved:
    """A checkpoint that is in the store at once."""

    def __init__(self, path: str) -> None:
        self.path = path

    def files(self, wait_seconds: float) -> tuple[FileRecord, ...]:
        return (FileRecord(path="state", size=1, digest=of_bytes(b"s")),)


def tensorboard_points(folder: Path, tag: str) -> Points:
    """By TensorBoard's own reader."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def wandb_records(folder: Path) -> list[WandbRecord]:
    """Of the one run in a folder that `wandb sync` takes."""
    (file,) = folder.glob("*run-*/run-*.wandb")
    return [WandbRecord.FromString(data) for data in _log_entries(file.read_bytes())]


def wandb_points(folder: Path, name: str) -> Points:
    points = []
    for record in wandb_records(folder):
        items = {".".join([item.key, *item.nested_key]).strip("."): item.value_json for item in record.history.item}
        if name in items:
            points.append((record.history.step.num, float(items[name])))
    return points


def _log_entries(data: bytes) -> Iterator[bytes]:
    """The format of LevelDB's log behind a header of 7 bytes: blocks of 32 KiB with pieces of entries."""
    assert data.startswith(b":W&B")
    place, entry = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if kind == 0:
            return
        entry += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield entry
            entry = b""
