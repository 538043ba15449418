"""Keys to be worked on: each by one worker at a time, soon after it was woken, and not twice for many wake-ups."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0

Key = TypeVar("Key", bound=Hashable)

_log = logging.getLogger(__name__)


class WorkQueue(Generic[Key]):
    """For one event loop. `work` returns after how many seconds it wants to be called again, None: when woken."""

    def __init__(self, work: Callable[[Key], Awaitable[float | None]], workers: int) -> None:
        self._work = work
        self._slots = workers
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0  # breaks ties, first come first served
        self._busy: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def wake(self, key: Key, after: float = 0.0) -> None:
        due = asyncio.get_running_loop().time() + after
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))
        self._changed.set()

    def __len__(self) -> int:
        """Keys that are due now or being worked on."""
        now = asyncio.get_running_loop().time()
        return len(self._busy) + sum(due <= now for due in self._due.values())

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._changed.clear()
                pause = self._start_due()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), pause)
        finally:
            for task in self._tasks:
                task.cancel()

    def _start_due(self) -> float | None:
        """Starts what is due and may start; returns how long nothing else will be due."""
        now = asyncio.get_running_loop().time()
        held = []
        while self._heap and len(self._busy) < self._slots:
            due, _, key = entry = self._heap[0]
            if self._due.get(key) != due:  # woken earlier since
                heapq.heappop(self._heap)
                continue
            if due > now:
                break
            heapq.heappop(self._heap)
            if key in self._busy:
                held.append(entry)
                continue
            del self._due[key]
            self._busy.add(key)
            task = asyncio.create_task(self._work_on(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for entry in held:  # its worker will look again when it is done
            heapq.heappush(self._heap, entry)
        if len(self._busy) >= self._slots or not self._heap or self._heap[0][0] <= now:
            return None
        return self._heap[0][0] - now

    async def _work_on(self, key: Key) -> None:
        try:
            again = await self._work(key)
            self._failures.pop(key, None)
        except Exception:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            again = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            _log.exception("it failed and will be tried again in %g s", again)
        finally:
            self._busy.discard(key)
            self._changed.set()
        if again is not None:
            self.wake(key, again)
