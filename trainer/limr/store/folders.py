"""Folders that several machines write together: each sends its own files to one path, and any may fetch them all."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from limr.store import digest, disk
from limr.store.base import NotFound, Store
from limr.store.digest import FileRecord


def send(store: Store, folder: Path, path: str) -> tuple[FileRecord, ...]:
    """Moves the files of the local `folder` below `path`, beside what is there, and returns their records."""
    records = digest.of_folder(folder)
    for record in records:
        store.upload(folder / record.path, f"{path}/{record.path}", move=True)
    disk.remove(folder)
    return records


def fetch(store: Store, path: str, records: tuple[FileRecord, ...], target: Path) -> bool:
    """Copies the folder at `path` to `target`, replacing it; whether it holds exactly the bytes of `records`."""
    disk.remove(target)
    try:
        store.download(path, target)
    except NotFound:
        return False
    return digest.of_folder(target) == records


def merged(parts: list[tuple[FileRecord, ...]]) -> tuple[FileRecord, ...]:
    """The records of all senders, ordered by path. Raises ValueError when two have sent the same file."""
    records = sorted((record for part in parts for record in part), key=lambda record: record.path)
    for one, other in pairwise(records):
        if one.path == other.path:
            raise ValueError(f"{one.path} was sent twice")
    return tuple(records)
