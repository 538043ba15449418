"""This machine's folder for large files that are soon removed: training state on its way to or from the store."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limr.errors import LimrError
from limr.store import disk
from limr.store.digest import of_bytes

VARIABLE = "LIMR_SCRATCH"

_PREFIX = "limr-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ScratchFull(LimrError):
    """This machine's scratch folder has no room. Another attempt may start on a machine that has."""

    reason = "ScratchFull"


def root() -> Path:
    """Where the scratch volume is mounted, else the system's folder for temporary files."""
    return Path(os.environ.get(VARIABLE) or tempfile.gettempdir())


def folder_name(stage_uri: str, attempt: int) -> Path:
    """The attempt's own folder, relative to `root()`: that of a stage, and in it one for each attempt."""
    return Path(_PREFIX + of_bytes(stage_uri.encode()).removeprefix("sha256:")[:16]) / f"attempt-{attempt}"


def claim(name: Path) -> Path:
    """Makes the folder `name` (see `folder_name`) and returns its path.

    What earlier attempts of the same stage left on this machine is removed: a process that is killed removes nothing.
    """
    folder = root() / name
    for other in sorted(folder.parent.glob("attempt-*")):
        if _attempt(other) < _attempt(folder):
            shutil.rmtree(other, ignore_errors=True)  # other processes of this attempt remove it too
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def release(name: Path) -> None:
    """Removes the folder `name`, and that of its stage when nothing else is in it."""
    disk.remove(root() / name)
    with suppress(OSError):
        (root() / name).parent.rmdir()


@contextmanager
def room_for(size: int, folder: Path) -> Iterator[None]:
    """While `size` bytes are written to `folder`, which is made. Raises ScratchFull when they do not fit."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise _full(folder, size, free)
        yield
    except (OSError, LimrError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _FULL:
            raise _full(folder, size, shutil.disk_usage(root()).free) from error
        raise


def _full(folder: Path, size: int, free: int) -> ScratchFull:
    return ScratchFull(
        f"{folder}: {size:,} bytes of scratch space are needed here and {free:,} are free; give spec.cluster.scratch "
        f"more room, or set {VARIABLE} to a folder on a larger disk where there is no cluster"
    )


def _attempt(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
