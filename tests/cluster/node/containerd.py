"""Images of the node: which it has, and how it gets more."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from command import output_of
from servers.go_program import cache_folder

from cluster import buildah
from cluster.node.layout import Layout
from cluster.packages import program

CALL_SECONDS = 30.0
IMPORT_SECONDS = 900.0
REMOVE_SECONDS = 120.0
LARGE_BYTES = 2**30


class Containerd:
    """The node's, spoken to through its socket."""

    def __init__(self, layout: Layout) -> None:
        self._ctr = [program("ctr"), "--address", str(layout.containerd_socket), "--namespace", "k8s.io"]
        self._content = layout.images / "io.containerd.content.v1.content"

    def answers(self) -> bool:
        done = subprocess.run([*self._ctr, "version"], capture_output=True, timeout=CALL_SECONDS, check=False)
        return done.returncode == 0

    def images(self) -> set[str]:
        return set(self._call("images", "list", "--quiet").split())

    def load(self, tag: str) -> None:
        """From buildah's store. Layers that the node has are not copied again: a change of code takes seconds."""
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            buildah.export(tag, Path(folder), self._blobs())
            if _size(Path(folder)) > LARGE_BYTES and tag in self.images():
                self._call(
                    "images", "remove", "--sync", tag, seconds=REMOVE_SECONDS
                )  # else disks must hold old and new
            self._import(Path(folder))

    def _blobs(self) -> dict[str, int]:
        """SHA-256 -> size of all that it stores."""
        return {blob.name: blob.stat().st_size for blob in self._content.glob("blobs/sha256/*")}

    def _import(self, folder: Path) -> None:
        tar = [program("tar"), "--create", "--directory", str(folder), "."]
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as archive:
            output_of([*self._ctr, "images", "import", "-"], seconds=IMPORT_SECONDS, stdin=archive.stdout)

    def _call(self, *arguments: str, seconds: float = CALL_SECONDS) -> str:
        return output_of([*self._ctr, *arguments], seconds=seconds)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
