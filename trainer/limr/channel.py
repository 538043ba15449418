"""How a stage's process hears from whoever started it, and speaks back: by files here, by a ConfigMap on a cluster."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from limr.stage import Progress, StageInput, StageResult

BEAT_SECONDS = 5.0  # between two signs of life while nothing else is reported


class Channel(ABC):
    """A `limr.stage.Reporter` that also brings the input and takes the result. Used from several threads."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.RLock()  # of `last`: a beat must not put back what progress has just replaced
        self.last = Progress(updated_at=time.time())

    @abstractmethod
    def read_input(self) -> StageInput:
        """Raises LimrError when there is none."""

    @abstractmethod
    def finish(self, result: StageResult) -> None:
        """Hands back the result: the last thing that is said. Raises LimrError when it cannot be."""

    def progress(self, progress: Progress) -> None:
        with self._lock:
            self.last = progress
            self._bring(progress)

    @abstractmethod
    def _bring(self, progress: Progress) -> None:
        """Brings it to whoever started the stage, now or soon."""

    def step(  # noqa: B027 - no channel must carry it
        self, metrics: Mapping[str, float], responses: Mapping[str, Collection[float]]
    ) -> None:
        """Nothing: the manifest has it, and limr.metrics shows it."""

    def beat(self) -> None:
        """Says again what was said last, with the time of now."""
        with self._lock:
            self.progress(self.last.model_copy(update={"updated_at": time.time()}))

    def stop_requested(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Asks the stage to keep what is done and to end, within a minute."""
        self._stop.set()
