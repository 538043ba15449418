"""A store in a local folder, with the guarantees that the design asks of S3: atomic and conditional writes.

Bytes go to a temporary file in the store's top folder, are flushed to the disk, and then appear under their name in one
step: by a hard link when nothing may be there yet, else by a rename. That step holds one lock of the whole store, which
makes "compare the version, then replace" one step for every process on this file system.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limr.store import disk
from limr.store.base import Conflict, Entry, NotFound

HIDDEN = ".limr-"  # prefix of what is no part of the store's contents: the lock and temporary files
TEMPORARY = f"{HIDDEN}tmp-"
LEFTOVER_SECONDS = 24 * 3600.0


class LocalStore:
    """`limr.store.base.Store` on a folder, which the first write makes. Version tokens are SHA-256 digests."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root.expanduser()))
        self._lock = self._root / f"{HIDDEN}lock"
        self.uri = str(self._root)

    def get(self, path: str) -> bytes:
        file = self._at(path)
        with disk.explained(file):
            try:
                return file.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise NotFound(f"{file}: there is no such file") from None

    def get_versioned(self, path: str) -> tuple[bytes, str]:
        data = self.get(path)
        return data, _version(data)

    def put(self, path: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        target = self._at(path)
        with disk.explained(target), self._temporary() as temporary:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._folder_of(target):
                if if_absent:
                    _link(temporary, target)
                elif if_match is not None and self._current_version(path) != if_match:
                    raise Conflict(f"{target}: another writer has changed it since it was read")
                else:
                    os.replace(temporary, target)
            disk.flush(target.parent)
        return _version(data)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        with disk.explained(self._root / prefix):
            yield from self._walk(prefix.rpartition("/")[0], prefix)

    def delete(self, path: str) -> None:
        target = self._at(path)
        with disk.explained(target):
            if target.is_file():
                with disk.locked(self._lock):
                    target.unlink(missing_ok=True)
                    self._remove_empty_folders(target.parent)

    def upload(self, source: Path, path: str, *, move: bool = False) -> None:
        if not source.exists():
            raise FileNotFoundError(source)
        target = self._at(path)
        with disk.explained(target), self._temporary() as temporary, self._temporary() as replaced:
            self._remove_leftovers()
            if move:
                disk.move(source, temporary)
            else:
                disk.copy(source, temporary)
            with self._folder_of(target):
                with suppress(FileNotFoundError):
                    os.rename(target, replaced)
                os.rename(temporary, target)
            disk.flush(target.parent)

    def download(self, path: str, target: Path) -> None:
        source = self._at(path)
        with disk.explained(target):
            if source.is_file():
                _copy_file(source, target)
                return
            entries = [entry.path for entry in self.list(path + "/")]
            for file in entries:
                _copy_file(self._at(file), target / file[len(path) + 1 :])
        if not entries:
            raise NotFound(f"{source}: there is no such file or folder")

    def local_path(self, path: str) -> Path | None:
        return self._at(path)

    def _at(self, path: str) -> Path:
        parts = path.split("/")
        if any(part in ("", ".", "..") or part.startswith(HIDDEN) for part in parts):
            raise ValueError(f"{path!r} is no path inside a store")
        return self._root.joinpath(*parts)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A free name on the store's file system; what still bears it at the end is removed."""
        self._root.mkdir(parents=True, exist_ok=True)
        path = self._root / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            disk.remove(path)

    def _remove_leftovers(self) -> None:
        """Temporary files of processes that were killed: nothing is under way for so long."""
        for path in self._root.glob(f"{TEMPORARY}*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_ctime > LEFTOVER_SECONDS:
                    disk.remove(path)

    @contextmanager
    def _folder_of(self, target: Path) -> Iterator[None]:
        """Holds the lock, with the target's folder there."""
        with disk.locked(self._lock):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield

    def _current_version(self, path: str) -> str | None:
        try:
            return self.get_versioned(path)[1]
        except NotFound:
            return None

    def _walk(self, folder: str, prefix: str) -> Iterator[Entry]:
        try:
            with os.scandir(self._root / folder) as scan:
                # A folder sorts as its paths do: with the slash behind its name.
                found = sorted((entry.name + "/" * entry.is_dir(), entry) for entry in scan)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, entry in found:
            path = f"{folder}/{name}" if folder else name
            if name.startswith(HIDDEN):
                continue
            if name.endswith("/"):
                if path.startswith(prefix) or prefix.startswith(path):
                    yield from self._walk(path[:-1], prefix)
            elif path.startswith(prefix):
                with suppress(FileNotFoundError):  # deleted since it was scanned
                    yield Entry(path, entry.stat().st_size)

    def _remove_empty_folders(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:  # not empty
                return
            folder = folder.parent


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _link(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise Conflict(f"{target}: is there already; it is written once and never replaced") from None


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
