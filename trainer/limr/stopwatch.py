"""Where a step's seconds go, and when the last one will be done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._parts: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._parts[part] = self._parts.get(part, 0.0) + time.perf_counter() - started

    def total(self) -> float:
        """Seconds since the watch was made."""
        return time.perf_counter() - self._started

    def parts(self) -> dict[str, float]:
        """`seconds_<part>` of every part that has ended."""
        return {f"seconds_{part}": value for part, value in self._parts.items()}


class Pace:
    """How long the rest will take, by the mean step since this attempt began to make steps."""

    def __init__(self, done: int, steps: int) -> None:
        self._first, self._steps = done, steps
        self._started = time.monotonic()

    def eta(self, done: int) -> float | None:
        """Seconds to the last step; None before the first is done."""
        if done <= self._first:
            return None
        return (time.monotonic() - self._started) / (done - self._first) * (self._steps - done)
