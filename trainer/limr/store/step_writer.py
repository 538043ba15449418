"""Writes step files and removes stale ones in one background thread: the store's latency hides behind the work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from limr.store import digest, layout, trajectories
from limr.store.base import Conflict, Store, StoreError
from limr.store.digest import FileRecord
from limr.store.manifest import StepRecord

ON_THEIR_WAY = 4  # steps that may wait for the store before `add` waits for them

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Fenced(StoreError):
    """Another writer has this stage now; this process must stop."""

    reason = "Fenced"


class StepWriter:
    """The files of one attempt at a stage. Nothing here makes them count: see limr.store.journal."""

    def __init__(self, store: Store, stage: str, attempt: int, deadline_seconds: float) -> None:
        self._store = store
        self._stage = stage
        self._attempt = attempt
        self._deadline = deadline_seconds
        self._thread = ThreadPoolExecutor(1, "limr-store")
        self._steps: list[Future[StepRecord]] = []
        self._removals: list[Future[None]] = []

    def __len__(self) -> int:
        """Steps added and not yet taken."""
        return len(self._steps)

    @property
    def on_their_way(self) -> int:
        """Steps added that are not in the store yet."""
        return sum(not future.done() for future in self._steps)

    def add(self, step: int, epoch: int, table: pa.Table, metrics: Mapping[str, float], texts: pa.Table | None) -> None:
        """Raises what a step before this one failed with."""
        for future in self._steps:
            if future.done():
                future.result()
        self._wait(self._steps[: max(0, len(self._steps) + 1 - ON_THEIR_WAY)])
        self._steps.append(self._thread.submit(self._write, step, epoch, table, metrics, texts))

    def written(self, count: int) -> list[StepRecord]:
        """The first `count` steps, once they are in the store. Raises StoreError after the deadline."""
        return self._wait(self._steps[:count])

    def take(self, count: int) -> None:
        """Forgets the first `count` steps: they have become truth."""
        del self._steps[:count]

    def remove_later(self, find: Callable[[], Iterable[str]]) -> None:
        """Removes the paths that `find` tells, behind the steps already added; failing to is worth a warning only."""

        def remove() -> None:
            try:
                for path in find():
                    self._store.delete(layout.in_stage(self._stage, path))
            except StoreError as error:
                _log.warning("stale files stay: %s", error)

        self._removals = [*(future for future in self._removals if not future.done()), self._thread.submit(remove)]

    def finish_removals(self) -> None:
        try:
            self._wait(self._removals)
        except StoreError as error:
            _log.warning("stale files stay: %s", error)

    def close(self) -> None:
        """Gives up what has not begun. Harmless when done twice."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(
        self, step: int, epoch: int, table: pa.Table, metrics: Mapping[str, float], texts: pa.Table | None
    ) -> StepRecord:
        text_file = None
        if texts is not None:
            path = layout.texts(self._attempt, epoch, step)
            text_file = self._write_once(path, trajectories.encode(texts, trajectories.TEXTS))
        file = self._write_once(layout.trajectories(self._attempt, epoch, step), trajectories.encode(table))
        return StepRecord(
            step=step,
            epoch=epoch,
            attempt=self._attempt,
            path=file.path,
            rows=table.num_rows,
            digest=file.digest,
            texts=text_file,
            metrics=metrics,
        )

    def _write_once(self, path: str, data: bytes) -> FileRecord:
        where = layout.in_stage(self._stage, path)
        try:
            self._store.put(where, data, if_absent=True)
        except Conflict:
            raise Fenced(
                f"{self._store.uri}/{where}: another process writes as attempt {self._attempt} too; this one must stop"
            ) from None
        return FileRecord(path=path, size=len(data), digest=digest.of_bytes(data))

    def _wait(self, futures: Sequence[Future[T]]) -> list[T]:
        end = time.monotonic() + self._deadline
        try:
            return [future.result(max(0.0, end - time.monotonic())) for future in futures]
        except TimeoutError:
            raise StoreError(
                f"{self._store.uri}/{self._stage}: files were not written within {self._deadline:.0f} s; "
                "check the store and the network to it"
            ) from None
