"""Where a tracker that writes files has them: at once in a local store, else here and copied to the store."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from limr.store.base import Store
from limr.store.layout import in_stage, tracking

COPY_SECONDS = 60.0  # between two copies to the store


class TrackingFolder:
    """The folder `name` below a stage's tracking folder. An earlier attempt's is replaced: each holds all steps."""

    def __init__(self, store: Store, stage: str, name: str) -> None:
        self._store, self._target = store, in_stage(stage, tracking(name))
        local = store.local_path(self._target)
        self._scratch = None if local else tempfile.TemporaryDirectory(prefix="limr-tracking-")
        self.path = local or Path(self._scratch.name if self._scratch else "", name)
        self._copied = time.monotonic()
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    def written(self) -> None:
        """Says that there is more in it, to be copied now and then. Raises StoreError."""
        if time.monotonic() - self._copied > COPY_SECONDS:
            self._copy()

    def close(self) -> None:
        """Nothing more will be written. Raises StoreError."""
        self._copy()
        if self._scratch:
            self._scratch.cleanup()

    def discard(self) -> None:
        """Leaves nothing of it, nor of what was there before. Raises StoreError."""
        for entry in list(self._store.list(f"{self._target}/")):
            self._store.delete(entry.path)
        if self._scratch:
            self._scratch.cleanup()
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def _copy(self) -> None:
        if self._scratch:
            self._store.upload(self.path, self._target)
        self._copied = time.monotonic()
