"""What a person sees while an experiment runs: bars on a terminal, otherwise a plain log."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import click

from limr.local.words import progress_words
from limr.plan import Child, StageStatus

LOG_SECONDS = 10.0


class View(Protocol):
    def shown(self) -> AbstractContextManager[object]:
        """Holds the display while the experiment runs."""
        ...

    def started(self, child: Child) -> None: ...

    def progress(self, child: Child, stage: StageStatus) -> None: ...

    def ended(self, child: Child, sentence: str) -> None: ...

    def note(self, text: str) -> None: ...


class PlainView:
    """A line for each start and end, and one of progress every ten seconds at most, when there is news."""

    def __init__(self) -> None:
        self._next = 0.0
        self._said = ""

    def shown(self) -> AbstractContextManager[object]:
        return nullcontext()

    def started(self, child: Child) -> None:
        self._next = time.monotonic() + LOG_SECONDS
        attempt = f" (attempt {child.attempt})" if child.attempt > 1 else ""
        self.note(f"{child.stage}: started{attempt}")

    def progress(self, child: Child, stage: StageStatus) -> None:
        words = progress_words(stage.progress)
        if words not in ("", self._said) and time.monotonic() >= self._next:
            self._next = time.monotonic() + LOG_SECONDS
            self._said = words
            self.note(f"{child.stage}: {words}")

    def ended(self, child: Child, sentence: str) -> None:
        self.note(f"{child.stage}: {sentence}")

    def note(self, text: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {text}")
