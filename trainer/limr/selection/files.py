"""Finds the files of a training below a path or an s3:// URI, and says what kind of files they are."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from limr.errors import LimrError
from limr.store import manifest, open_store, read_uri
from limr.store.base import NotFound, Store
from limr.store.layout import MANIFEST


@dataclass(frozen=True)
class InputFile:
    """One file, as plain values, so that another process can open it too."""

    folder: str  # URI of a store
    path: str  # in that store
    endpoint: str | None = None

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.path}"

    def local(self) -> Path | None:
        return _store(self.folder, self.endpoint).local_path(self.path)

    def open(self) -> BinaryIO:
        """Raises LimrError when the file is not there or may not be read."""
        local = self.local()
        try:
            return local.open("rb") if local else io.BytesIO(_store(self.folder, self.endpoint).get(self.path))
        except (NotFound, FileNotFoundError):
            raise LimrError(f"{self.name}: there is no such file; restore it or correct the path") from None
        except PermissionError:
            raise LimrError(f"{self.name}: permission denied; give this user the right to read it") from None


class Kind(StrEnum):
    PARQUET = "parquet"
    STEPS = "steps"  # step_N.json, as the LIMR repository writes them
    JSON = "json"  # arrays or lines


@dataclass(frozen=True)
class Files:
    kind: Kind
    files: Sequence[InputFile]
    steps: Sequence[int] = ()  # of Kind.STEPS: the number in each file's name


def find(uri: str, endpoint: str | None = None) -> Files:
    """What is at `uri`: one file, a stage's folder with its manifest, or a folder of files of one kind.

    In a folder the first of these counts: manifest.json, step_N.json (also one level down in train/), Parquet, JSON and
    JSONL. Raises LimrError when there is none of them.
    """
    if uri.endswith(f"/{MANIFEST}"):
        uri = uri.removesuffix(f"/{MANIFEST}")
    if _is_file(uri):
        return _by_kind([single(uri, endpoint)], uri)
    folder = uri if uri.startswith("s3://") else str(Path(uri).expanduser())
    paths = [entry.path for entry in _store(folder, endpoint).list()]
    if MANIFEST in paths:
        return _of_manifest(folder, endpoint)
    return _by_kind([InputFile(folder, path, endpoint) for path in paths], uri)


@lru_cache(maxsize=16)
def _store(uri: str, endpoint: str | None) -> Store:
    return open_store(uri, endpoint)


def _is_file(uri: str) -> bool:
    if uri.startswith("s3://"):
        return uri.endswith((".parquet", ".json", ".jsonl"))
    return Path(uri).expanduser().is_file()


def single(uri: str, endpoint: str | None = None) -> InputFile:
    """The one file at `uri`, whether it is there or not."""
    if uri.startswith("s3://"):
        folder, _, name = uri.rpartition("/")
        return InputFile(folder, name, endpoint)
    file = Path(uri).expanduser()
    return InputFile(str(file.parent), file.name)


def _of_manifest(folder: str, endpoint: str | None) -> Files:
    where = f"{folder}/{MANIFEST}"
    steps = manifest.parse(read_uri(where, endpoint), where).steps
    if not steps:
        raise LimrError(f"{where}: names no finished step yet; wait for the first checkpoint")
    return Files(Kind.PARQUET, [InputFile(folder, step.path, endpoint) for step in steps])


def _by_kind(files: list[InputFile], uri: str) -> Files:
    for folder in ("", "train/"):
        named = re.compile(rf"{folder}step_(\d+)\.json")
        steps = {file: int(match[1]) for file in files if (match := named.fullmatch(file.path))}
        if steps:
            ordered = sorted(steps, key=lambda file: steps[file])
            return Files(Kind.STEPS, ordered, [steps[file] for file in ordered])
    for kind, endings in ((Kind.PARQUET, (".parquet",)), (Kind.JSON, (".json", ".jsonl"))):
        found = [file for file in files if file.path.endswith(endings)]
        if found:
            _refuse_attempts(found, uri)
            return Files(kind, found)
    raise LimrError(
        f"{uri}: there is no training to read; give a Parquet, JSON or JSONL file, or a folder of such files or of "
        "step_N.json files"
    )


def _refuse_attempts(files: list[InputFile], uri: str) -> None:
    """Without a manifest nobody knows which attempt's files count."""
    attempts = sorted({part for file in files for part in file.path.split("/")[:-1] if part.startswith("attempt-")})
    if len(attempts) > 1:
        raise LimrError(f"{uri}: holds {', '.join(attempts)} and no {MANIFEST}; give the folder of one of them")
