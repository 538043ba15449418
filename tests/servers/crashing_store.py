"""A store whose process can die at any of its writes, before or after the write is carried out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from limr.store.local import LocalStore

T = TypeVar("T")


class Crash(BaseException):
    """The process is dead: whatever it does next raises this again."""


class CrashingStore(LocalStore):
    """A local store as one process sees it. After `crash_after(n)` the n-th write from then on ends the process."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._left: int | None = None
        self._dead = False
        self._one_write = threading.RLock()

    def crash_after(self, writes: int) -> None:
        """Counts a write twice: before it is carried out, and after."""
        self._left = writes

    def kill(self) -> None:
        with self._one_write:  # not in the middle of a write, so that nothing of it appears later
            self._dead = True

    def get_versioned(self, path: str) -> tuple[bytes, str]:
        self._check_alive()
        return super().get_versioned(path)

    def put(self, path: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        return self._perform(lambda: LocalStore.put(self, path, data, if_absent=if_absent, if_match=if_match))

    def delete(self, path: str) -> None:
        self._perform(lambda: LocalStore.delete(self, path))

    def upload(self, source: Path, path: str, *, move: bool = False) -> None:
        self._perform(lambda: LocalStore.upload(self, source, path, move=move))

    def _perform(self, write: Callable[[], T]) -> T:
        with self._one_write:
            self._tick()
            result = write()
            self._tick()
            return result

    def _tick(self) -> None:
        if self._left is not None:
            self._left -= 1
            self._dead = self._dead or self._left < 0
        self._check_alive()

    def _check_alive(self) -> None:
        if self._dead:
            raise Crash
