"""Folders that several machines write together: each sends its own files to one path, and fetches those it needs."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from limr.store import digest, disk
from limr.store.base import NotFound, Store, StoreError
from limr.store.digest import FileRecord

FILES_AT_ONCE = 2  # each in parts that come side by side, so that two hide each other's hashing


def send(store: Store, folder: Path, path: str) -> tuple[FileRecord, ...]:
    """Moves the files of the local `folder` below `path`, beside what is there, and returns their records."""
    records = digest.of_folder(folder)
    for record in records:
        store.upload(folder / record.path, f"{path}/{record.path}", move=True)
    disk.remove(folder)
    return records


def send_whole(store: Store, folder: Path, path: str) -> tuple[FileRecord, ...]:
    """Moves the local `folder` to `path`, all files at once, and returns their records once the store has them all.

    Raises StoreError when it has not what was sent.
    """
    records = digest.of_folder(folder)
    store.upload(folder, path, move=True)
    there = {entry.path.removeprefix(f"{path}/"): entry.size for entry in store.list(f"{path}/")}
    if there != {record.path: record.size for record in records}:
        raise StoreError(f"{store.uri}/{path}: does not hold the files that were sent there; check the store")
    return records


def fetch(store: Store, path: str, records: Iterable[FileRecord], target: Path) -> bool:
    """Copies these files of the folder at `path` below `target`; whether each is there and has the right bytes."""

    def fetch_one(record: FileRecord) -> bool:
        file = target / record.path
        try:
            store.download(f"{path}/{record.path}", file)
        except NotFound:
            return False
        return digest.of_file(file) == record.digest

    with ThreadPoolExecutor(FILES_AT_ONCE, "limr-fetch") as pool:
        return all(pool.map(fetch_one, records))


def merged(parts: list[tuple[FileRecord, ...]]) -> tuple[FileRecord, ...]:
    """The records of all senders, ordered by path. Raises ValueError when two have sent the same file."""
    records = sorted((record for part in parts for record in part), key=lambda record: record.path)
    for one, other in pairwise(records):
        if one.path == other.path:
            raise ValueError(f"{one.path} was sent twice")
    return tuple(records)
