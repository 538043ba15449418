"""Where bytes live: one small interface over a local folder and over S3.

Paths are relative to the store's URI, with "/" between parts. A write is atomic: readers see the old bytes or the
new ones. Two conditional writes carry the whole design: `if_absent` (a step file is written once, whoever is first)
and `if_match` (a manifest moves on only from the version that its writer had read).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from limr.errors import LimrError


class StoreError(LimrError):
    """The store cannot be used: unreachable, read-only, full, access denied. Says which URI and what to do."""

    reason = "StoreUnavailable"


class NotFound(StoreError):
    """There is nothing at that path."""


class Conflict(StoreError):
    """A conditional write met other bytes than its condition asked for."""


@dataclass(frozen=True)
class Entry:
    path: str
    size: int  # bytes


class Store(Protocol):
    uri: str

    def get(self, path: str) -> bytes:
        """The bytes at `path`. Raises NotFound."""
        ...

    def get_versioned(self, path: str) -> tuple[bytes, str]:
        """The bytes and their version token, to be handed to `put(if_match=…)`. Raises NotFound."""
        ...

    def put(self, path: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Writes atomically and returns the new version token. Raises Conflict when the condition does not hold.

        Over a network a Conflict can also mean that these bytes were written, their answer was lost, and another
        writer has replaced them since; who must know looks for a mark of its own in what it reads next.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Everything whose path starts with `prefix`, in lexicographic order, sub-folders included."""
        ...

    def delete(self, path: str) -> None:
        """Removes `path`; nothing happens when it is not there."""
        ...

    def upload(self, source: Path, path: str, *, move: bool = False) -> None:
        """Copies a file or a whole folder to `path`, replacing what is there.

        With `move` the source is given up: it is gone afterwards, and a local store renames it instead of copying.
        """
        ...

    def download(self, path: str, target: Path) -> None:
        """Copies the file or the files of the folder at `path` to `target`, over what is there. Raises NotFound."""
        ...

    def local_path(self, path: str) -> Path | None:
        """Where the bytes lie on this machine, for memory mapping; None when they do not."""
        ...
