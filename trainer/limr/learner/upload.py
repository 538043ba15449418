"""One upload in the background of a learner's work."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from limr.store.base import Store
from limr.store.digest import FileRecord
from limr.store.folders import send_whole


class Upload:
    """Moves one folder at a time to the store, in a thread: hashing and sending leave the interpreter's lock."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "limr-upload")
        self._sending: Future[tuple[FileRecord, ...]] | None = None

    def start(self, store: Store, folder: Path, path: str) -> None:
        """Begins to move `folder` into the folder `path` of the store, under its own name."""
        if self._sending is not None and not self._sending.done():
            raise ValueError(f"{folder} cannot be sent before the upload under way has ended")
        self._sending = self._thread.submit(self._send, store, folder, path)

    def files(self, wait_seconds: float) -> tuple[FileRecord, ...] | None:
        """What was sent, relative to the `path` given to `start`; None when it is not there after `wait_seconds`.

        Raises what the upload failed with.
        """
        if self._sending is None:
            raise ValueError("nothing was sent")
        try:
            return self._sending.result(wait_seconds)
        except TimeoutError:
            if self._sending.done():  # the upload's own
                raise
            return None

    @staticmethod
    def _send(store: Store, folder: Path, path: str) -> tuple[FileRecord, ...]:
        records = send_whole(store, folder, f"{path}/{folder.name}")
        return tuple(record.model_copy(update={"path": f"{folder.name}/{record.path}"}) for record in records)
