"""Writes a stage's history so that it is exactly-once: whatever crashes, the manifest names each step a single time.

A step's file is written at once, below the folder of this attempt, but counts only when the manifest names it. The
manifest moves on by compare-and-swap, naming new steps together with the checkpoint that comes after them, when the
store has all files of it; so a crash loses only what the next attempt redoes, and a writer whose stage was claimed by a
later attempt can change nothing. A checkpoint goes up while later steps are made: one at a time.
What the manifest has ceased to name is removed afterwards, never before.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import pyarrow as pa

from limr.stage import Ledger, Output
from limr.store import digest, layout
from limr.store.base import Conflict, NotFound, Store, StoreError
from limr.store.digest import FileRecord
from limr.store.manifest import CheckpointRecord, Manifest, parse, rounded
from limr.store.step_writer import Fenced, StepWriter

__all__ = ["Fenced", "Journal"]


class Upload(Protocol):
    """Files on their way to a path of the store."""

    def files(self, wait_seconds: float) -> tuple[FileRecord, ...] | None:
        """All files, once the store has them; None when some are still on their way after `wait_seconds`.

        Raises what the upload failed with.
        """
        ...


# How a folder's files come to a path of the store, and back: see limr.store.folders. Training state lies on the
# machines of all learners, so the journal's own machine need not have it.
Send = Callable[[str], tuple[FileRecord, ...]]
BeginSending = Callable[[str], Upload]
Fetch = Callable[[str, tuple[FileRecord, ...]], bool]  # whether the bytes verify

POLL_SECONDS = 5.0  # how long one look at an upload that is waited for takes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pending:
    """A checkpoint whose files are on their way."""

    step: int
    path: str
    upload: Upload
    ledger: Ledger


class Journal:
    """The one writer of a stage's manifest, for one thread. Made by `Journal.open`, ended by `finish` or `close`."""

    def __init__(self, store: Store, stage: str, manifest: Manifest, version: str, keep: int, deadline: float) -> None:
        self.manifest = manifest
        self._store = store
        self._stage = stage
        self._version = version
        self._keep = keep
        self._writer = StepWriter(store, stage, manifest.attempt, deadline)
        self._deadline = deadline
        self._pending: _Pending | None = None
        self._swept = False

    @classmethod
    def open(
        cls,
        store: Store,
        stage: str,
        attempt: int,
        *,
        keep: int = 2,
        writer: str | None = None,
        deadline_seconds: float = 900.0,
    ) -> Self:
        """Claims the stage in folder `stage` for `attempt`; a finished stage is opened as it is, only to be read.

        A higher attempt takes a stage over; so does the same attempt with the same `writer`, a token that is random by
        default. `keep` is how many checkpoints stay, `deadline_seconds` how long a call waits for files on their way.
        Raises Fenced when a later attempt, or another writer of this attempt, has the stage.
        """
        token = writer or uuid.uuid4().hex
        end = time.monotonic() + deadline_seconds
        while True:
            try:
                manifest, version = _claim(store, stage, attempt, token)
            except Conflict:  # whoever had the stage moved on in between: look again
                if time.monotonic() > end:
                    raise
            else:
                break
        journal = cls(store, stage, manifest, version, keep, deadline_seconds)
        if not manifest.finished:  # what an earlier life of this writer left would be in the way
            for path in journal._stale(manifest, range(attempt, attempt + 1)):
                store.delete(layout.in_stage(stage, path))
        return journal

    @property
    def output(self) -> Output:
        """The stage's history as an output: its manifest."""
        return Output(uri=self._uri(layout.MANIFEST), digest=digest.of_bytes(_encoded(self.manifest)))

    @property
    def checkpoint_step(self) -> int:
        """Step of the last checkpoint, whether it is truth or on its way; 0 when there is none."""
        if self._pending:
            return self._pending.step
        return self.manifest.checkpoints[-1].step if self.manifest.checkpoints else 0

    @property
    def on_their_way(self) -> int:
        """Steps added that the store does not have yet."""
        return self._writer.on_their_way

    def restore(self, fetch: Fetch) -> CheckpointRecord | None:
        """Fetches the last checkpoint whose bytes verify.

        Steps after that checkpoint are forgotten: they are to be redone. None when there is no checkpoint.
        """
        self._check_open()
        if len(self._writer):
            raise ValueError("restore comes before the first add_step")
        for count in range(len(self.manifest.checkpoints), 0, -1):
            record = self.manifest.checkpoints[count - 1]
            if fetch(layout.in_stage(self._stage, record.path), record.files):
                self.manifest = self.manifest.rewound(count)
                return record
            _log.warning("%s: is missing or damaged; going on from the checkpoint before", self._uri(record.path))
        self.manifest = self.manifest.rewound(0)
        return None

    def add_step(
        self, step: int, epoch: int, table: pa.Table, metrics: Mapping[str, float], texts: pa.Table | None = None
    ) -> None:
        """Begins to write the step's rows (schema TRAJECTORIES) and, when given, their texts (schema TEXTS).

        Returns at once unless the store is several steps behind. A failure to write is raised by the next call.
        """
        self._check_open()
        following = self.manifest.last_step + len(self._writer) + 1
        if step != following:
            raise ValueError(f"step {step} cannot be added; the next is {following}")
        self._writer.add(step, epoch, table, rounded(metrics), texts)

    def begin_commit(self, step: int, send: BeginSending, ledger: Ledger) -> None:
        """Begins to make the steps up to `step` truth: `send` begins to send the checkpoint that follows them.

        That of an earlier step is ended first. `ledger` is what the stage has cost up to `step`. Nothing happens when
        the last checkpoint is that of `step`, or is about to be. Raises as `complete` does.
        """
        if self.checkpoint_step == step:
            return
        self.complete()
        self._check_addable(step)
        path = layout.checkpoint(self.manifest.attempt, step)
        self._pending = _Pending(step, path, send(layout.in_stage(self._stage, path)), ledger)

    def poll(self) -> None:
        """Ends what `begin_commit` began if all files are there by now; else nothing happens. Raises as `complete`."""
        if self._pending and (files := self._pending.upload.files(0)) is not None:
            self._complete(self._pending, files)

    def complete(self) -> None:
        """Waits for what `begin_commit` began, if anything, and makes it truth.

        Raises Fenced when another writer has the stage, StoreError when files failed or took longer than the deadline.
        """
        end = time.monotonic() + self._deadline
        while self._pending:
            left = end - time.monotonic()
            if (files := self._pending.upload.files(max(0.0, min(left, POLL_SECONDS)))) is not None:
                self._complete(self._pending, files)
            elif left <= 0:
                raise StoreError(
                    f"{self._uri(self._pending.path)}: the checkpoint was not sent within {self._deadline:.0f} s; "
                    "check the store and the network to it, or raise limits.waitSeconds"
                )

    def commit(self, step: int, ledger: Ledger) -> None:
        """Makes the steps up to `step` truth without a checkpoint.

        They hold until the next attempt, which redoes them. Raises as `complete` does.
        """
        self.complete()
        self._check_addable(step)
        self._advance(step, None, ledger)

    def publish(self, name: str, send: Send) -> Output:
        """Stores a folder that the stage made, below this attempt's own folder."""
        self._check_open()
        path = layout.product(self.manifest.attempt, name)
        records = send(layout.in_stage(self._stage, path))
        return Output(uri=self._uri(path), digest=digest.of_records(records))

    def finish(self, outputs: Mapping[str, Output], ledger: Ledger) -> None:
        """Ends the stage: the steps added so far and `outputs` become truth. Raises as `complete` does."""
        self._check_open()
        self.complete()
        records = self._writer.written(len(self._writer))
        self._swept = False  # a last look for what writers of earlier attempts have left since
        self._move_on(self.manifest.advanced(records, None, ledger, self._keep).ended(outputs))
        self._writer.finish_removals()
        self._writer.close()

    def close(self) -> None:
        """Gives up what is not committed. Harmless when done twice."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _uri(self, path: str) -> str:
        return f"{self._store.uri}/{layout.in_stage(self._stage, path)}"

    def _check_open(self) -> None:
        if self.manifest.finished:
            raise ValueError(f"stage {self._stage} is finished; nothing can be added to it")

    def _check_addable(self, step: int) -> None:
        self._check_open()
        if not 0 <= step - self.manifest.last_step <= len(self._writer):
            raise ValueError(
                f"step {step} cannot be committed: {len(self._writer)} steps follow {self.manifest.last_step}"
            )

    def _complete(self, pending: _Pending, files: tuple[FileRecord, ...]) -> None:
        if not files:
            raise ValueError(f"the checkpoint of step {pending.step} is empty")
        checkpoint = CheckpointRecord(
            step=pending.step,
            attempt=self.manifest.attempt,
            path=pending.path,
            digest=digest.of_records(files),
            files=files,
            ledger=pending.ledger,
        )
        self._advance(pending.step, checkpoint, pending.ledger)
        self._pending = None

    def _advance(self, step: int, checkpoint: CheckpointRecord | None, ledger: Ledger) -> None:
        count = step - self.manifest.last_step
        records = self._writer.written(count)
        self._move_on(self.manifest.advanced(records, checkpoint, ledger, self._keep))
        self._writer.take(count)

    def _move_on(self, manifest: Manifest) -> None:
        path = layout.in_stage(self._stage, layout.MANIFEST)
        try:
            self._version = self._store.put(path, _encoded(manifest), if_match=self._version)
        except Conflict:
            raise Fenced(
                f"{self._uri('')}: another writer has taken this stage over since attempt {manifest.attempt} began; "
                "this process must stop"
            ) from None
        replaced = self.manifest.files() - manifest.files()
        self.manifest = manifest
        self._writer.remove_later(lambda: sorted(replaced))
        if not self._swept:
            self._writer.remove_later(lambda: self._stale(manifest, range(manifest.attempt)))
            self._swept = True

    def _stale(self, manifest: Manifest, attempts: range) -> Iterator[str]:
        """What these attempts wrote and the manifest does not name. Never a later attempt's: it may be at work."""
        named = manifest.files()
        prefix = layout.in_stage(self._stage, "")
        for entry in list(self._store.list(prefix)):
            path = entry.path.removeprefix(prefix)
            if layout.attempt_of(path) in attempts and path not in named:
                yield path


def _claim(store: Store, stage: str, attempt: int, token: str) -> tuple[Manifest, str]:
    """The manifest with which this writer begins and its version. Raises Conflict when it changed in between."""
    path = layout.in_stage(stage, layout.MANIFEST)
    try:
        data, version = store.get_versioned(path)
    except NotFound:
        manifest = Manifest(stage=stage, attempt=attempt, writer=token)
        return manifest, store.put(path, _encoded(manifest), if_absent=True)
    current = parse(data, f"{store.uri}/{path}")
    if current.attempt > attempt or (current.attempt == attempt and not (current.finished or current.writer == token)):
        raise Fenced(
            f"{store.uri}/{path}: attempt {current.attempt} has this stage, so attempt {attempt} of another process "
            "cannot begin; let it end, or start a higher attempt"
        )
    if current.finished:
        return current, version
    manifest = current.claimed(attempt, token)
    return manifest, store.put(path, _encoded(manifest), if_match=version)


def _encoded(manifest: Manifest) -> bytes:
    return manifest.to_json().encode()
