"""Digests of bytes, files and folders, as "sha256:<hex>"."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from limr.stage import Document


class FileRecord(Document):
    path: str  # with "/" between parts
    size: int  # bytes
    digest: str


def of_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def of_file(file: Path) -> str:
    with file.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def of_folder(folder: Path) -> tuple[FileRecord, ...]:
    """One record for each file below `folder`, ordered by path."""
    files = sorted((file.relative_to(folder).as_posix(), file) for file in folder.rglob("*") if file.is_file())
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # hashing runs outside the interpreter's lock
        digests = pool.map(of_file, [file for _, file in files])
        return tuple(
            FileRecord(path=path, size=file.stat().st_size, digest=digest)
            for (path, file), digest in zip(files, digests, strict=True)
        )


def of_records(records: Iterable[FileRecord]) -> str:
    """One digest for a whole folder: of the lines "<digest> <size> <path>"."""
    return of_bytes("".join(f"{record.digest} {record.size} {record.path}\n" for record in records).encode())
