"""The steps on a POSIX file system that a local store is made of: flushed, atomic, with errors a person can read."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from limr.store.base import StoreError

LOCK_SECONDS = 30.0

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run again, what was finished before is kept",
    errno.EDQUOT: "the disk quota is used up; free some space and run again, what was finished before is kept",
    errno.EROFS: "the file system is read-only; mount it writable or choose another storage.uri",
    errno.EACCES: "permission denied; give this user the right to it or choose another storage.uri",
    errno.EPERM: "the file system does not permit it; give this user the right or choose another storage.uri",
    errno.ENOTDIR: "a part of this path is a file, not a folder; remove it or choose another storage.uri",
    errno.EEXIST: "a part of this path is a file, not a folder; remove it or choose another storage.uri",
}


@contextmanager
def explained(where: Path) -> Iterator[None]:
    """Turns the system's refusals into StoreErrors that name `where`."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; check the disk and the path")
        raise StoreError(f"{where}: {remedy}") from error


@contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Holds an exclusive lock among all threads and processes; the end of a process gives it back.

    Raises StoreError when another process keeps it for LOCK_SECONDS.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise StoreError(f"{lock}: another process has held this lock for {LOCK_SECONDS:.0f} s; end it")
            time.sleep(0.002)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def flush(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy(source: Path, target: Path) -> None:
    """Copies a file, or a folder with all below it, down to the disk. Links are followed: the copy stands alone."""
    if source.is_dir():
        target.mkdir()
        for child in source.iterdir():
            copy(child, target / child.name)
    else:
        shutil.copyfile(source, target)
    flush(target)


def move(source: Path, target: Path) -> None:
    """Renames after flushing, or copies and removes where the two are on different file systems."""
    _flush_tree(source)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy(source, target)
        remove(source)


def _flush_tree(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _flush_tree(child)
    flush(path)


def remove(path: Path) -> None:
    """Removes a file or a folder; nothing happens when it is not there, or when others remove it at the same time."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_raise_unless_missing)
    else:
        path.unlink(missing_ok=True)


def _raise_unless_missing(_function: object, _path: str, raised: tuple[type, BaseException, TracebackType]) -> None:
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]
