"""How a stage's process hears from whoever started it, and speaks back: by files here, by a ConfigMap on a cluster."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from limr.stage import Progress, StageInput, StageResult


class Channel(ABC):
    """A `limr.stage.Reporter` that also brings the input and takes the result. Used from several threads."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.last = Progress(updated_at=time.time())

    @abstractmethod
    def read_input(self) -> StageInput:
        """Raises LimrError when there is none."""

    @abstractmethod
    def finish(self, result: StageResult) -> None:
        """Hands back the result: the last thing that is said. Raises LimrError when it cannot be."""

    @abstractmethod
    def progress(self, progress: Progress) -> None: ...

    def step(  # noqa: B027 - no channel must carry it
        self, metrics: Mapping[str, float], responses: Mapping[str, Collection[float]]
    ) -> None:
        """Nothing: the manifest has it, and limr.metrics shows it."""

    def beat(self) -> None:
        """Says again what was said last, with the time of now."""
        self.progress(self.last.model_copy(update={"updated_at": time.time()}))

    def stop_requested(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Asks the stage to end at its next checkpoint."""
        self._stop.set()
