"""One tracker, told in a thread of its own: whoever tells it of a step never waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from limr.tracking.sink import Ending, Record, Sink

PENDING = 1000  # steps that may wait for a tracker; what comes then is left to `limr track`
RETRY_SECONDS = 15.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Worker:
    """Tells the tracker that `open_` gives the steps of `history`, then those that are put.

    With `patient`, what fails is tried again until the end is near; else the tracker is given up.
    """

    def __init__(
        self, name: str, open_: Callable[[], Sink], history: Callable[[], Iterable[Record]], patient: bool
    ) -> None:
        self._name = name
        self._open, self._history = open_, history
        self._patient = patient
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._ending = Ending.FAILED
        self._warned = self._overflown = False
        self._thread = threading.Thread(target=self._work, name=f"limr-{name}", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Once one step was left out, so are those after it: a tracker has all steps up to its last."""
        if self._overflown or self._queue.qsize() >= PENDING:
            self._overflown = True
            self._warn(f"{PENDING} steps wait for it already")
        else:
            self._queue.put(record)

    def close(self, ending: Ending) -> None:
        """Says that there is no more; `join` waits for it."""
        self._ending = ending
        self._closing.set()
        self._queue.put(None)

    def join(self, deadline: float) -> None:
        """Waits until time.monotonic() is `deadline`."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._warn("it does not answer in time, and is left alone")

    def _work(self) -> None:
        try:
            sink = self._insist(self._open)
            for record in self._records():
                if record.step >= sink.next_step:
                    self._insist(lambda record=record: sink.log(record))  # type: ignore[misc]
            self._insist(lambda: sink.close(self._ending))
        except Exception as error:
            self._warn(_words(error))
            self._overflown = True

    def _records(self) -> Iterator[Record]:
        yield from self._history()
        while (record := self._queue.get()) is not None:
            yield record

    def _insist(self, do: Callable[[], T]) -> T:
        while True:
            try:
                return do()
            except Exception as error:
                if not self._patient or self._closing.is_set():
                    raise
                self._warn(_words(error))
            self._closing.wait(RETRY_SECONDS)

    def _warn(self, words: str) -> None:
        """Once: an outage may last for days."""
        if not self._warned:
            self._warned = True
            _log.warning("%s: has not all steps; `limr track` sends what is missing: %s", self._name, words)


def _words(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
