"""The three files between a stage's process and whoever started it, in a folder of its attempt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from limr.channel import Channel
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


class FileChannel(Channel):
    """The channel of a stage on this machine; whoever started the stage asks it to stop by a signal."""

    def __init__(self, files: StageFiles) -> None:
        super().__init__()
        self._files = files

    def read_input(self) -> StageInput:
        return read_input(self._files.input)

    def _bring(self, progress: Progress) -> None:
        write(self._files.progress, progress.to_json())

    def finish(self, result: StageResult) -> None:
        write(self._files.result, result.to_json())


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
