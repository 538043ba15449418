"""The view on a terminal: a bar for the stage at work, finished stages above it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from limr.local.words import progress_words
from limr.plan import Child, StageStatus


class TerminalView:
    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[words]}"),
            console=console,
        )
        self._tasks: dict[Child, TaskID] = {}

    def shown(self) -> AbstractContextManager[object]:
        return self._bars

    def started(self, child: Child) -> None:
        attempt = f" (attempt {child.attempt})" if child.attempt > 1 else ""
        self._tasks[child] = self._bars.add_task(f"{child.stage}{attempt}", total=None, words="starting")

    def progress(self, child: Child, stage: StageStatus) -> None:
        if child in self._tasks and stage.progress is not None:
            said = stage.progress
            words = escape(progress_words(said))
            self._bars.update(self._tasks[child], completed=said.step, total=said.steps or None, words=words)

    def ended(self, child: Child, sentence: str) -> None:
        if child in self._tasks:
            self._bars.remove_task(self._tasks.pop(child))
        self.note(f"{child.stage}: {sentence}")

    def note(self, text: str) -> None:
        self._bars.console.print(escape(text), highlight=False)
