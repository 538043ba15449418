"""Whether this process is worth keeping: an operator whose watches have died silently looks alive and does nothing.

The Lease is the canary. It changes every few seconds, and each replica reads it directly; when the watch has not
brought for a minute what was read, watches do not deliver.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_LAG_SECONDS = 60.0


class Liveness:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._delivered = ""
        self._read: list[tuple[float, str]] = []  # when which renewTime was read that was not delivered yet
        self.ready = False

    def delivered(self, renewed_at: str) -> None:
        """The watch brought a Lease with this renewTime. These texts are UTC, so they sort as their times do."""
        self._delivered = max(self._delivered, renewed_at)
        self._read = [entry for entry in self._read if entry[1] > self._delivered]

    def read(self, renewed_at: str) -> None:
        """The API itself has answered with this renewTime."""
        if renewed_at > self._delivered and (not self._read or renewed_at > self._read[-1][1]):
            self._read.append((self._clock(), renewed_at))

    @property
    def lag_seconds(self) -> float:
        """For how long something is known that no watch has brought."""
        return self._clock() - self._read[0][0] if self._read else 0.0

    @property
    def alive(self) -> bool:
        return self.lag_seconds < LONGEST_LAG_SECONDS
