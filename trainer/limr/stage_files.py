"""The three files between a stage's process and whoever started it, in a folder of its attempt."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from limr.errors import LimrError
from limr.stage import Progress, StageInput, StageResult
from limr.store import disk

Model = TypeVar("Model", bound=BaseModel)


class StageFiles:
    """input.json is written before the process starts, progress.json while it works, result.json when it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.input = folder / "input.json"
        self.progress = folder / "progress.json"
        self.result = folder / "result.json"


class FileReporter:
    """Writes a stage's progress to a file; whoever started the stage asks it to stop by calling `stop`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.last = Progress(updated_at=time.time())

    def progress(self, progress: Progress) -> None:
        with self._lock:
            self.last = progress
            write(self._file, progress.to_json())

    def beat(self) -> None:
        """Says again what was said last, with the time of now."""
        self.progress(self.last.model_copy(update={"updated_at": time.time()}))

    def stop_requested(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()


def write(file: Path, text: str) -> None:
    """Puts the text in place in one step. Raises StoreError where the disk refuses."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with disk.explained(file):
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)


def read(file: Path, kind: type[Model]) -> Model | None:
    """The document in `file`, None when there is none. Raises LimrError when it is not of that kind."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LimrError(
            f"{file}: {where}: {first['msg']}; it was written by another version of limr or by hand: "
            "use that version, or move the file away"
        ) from None


def read_input(file: Path) -> StageInput:
    stage_input = read(file, StageInput)
    if stage_input is None:
        raise LimrError(f"{file}: there is no such file; give the path of a stage's input.json")
    return stage_input


def read_progress(files: StageFiles) -> Progress | None:
    return read(files.progress, Progress)


def read_result(files: StageFiles) -> StageResult | None:
    return read(files.result, StageResult)
