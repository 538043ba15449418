"""Images, built by buildah in a store of the tests' own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.go_program import cache_folder

from cluster.packages import program

BUILD_SECONDS = 3600.0
CA_BUNDLES = ("SSL_CERT_FILE", "PIP_CERT")
# Same bytes for the same files, whenever they are built.
EPOCH = "1700000000"


def exists(tag: str) -> bool:
    return _buildah("images", "--quiet", "--filter", f"reference={tag}").strip() != ""


def build(context: Path, tag: str, arguments: Mapping[str, str], options: Sequence[str] = ()) -> None:
    """`arguments` are the Dockerfile's. Packages come from where this machine's pip takes them."""
    build_arguments = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    _buildah(
        *("build", "--isolation", "chroot", "--network", "host", "--layers", "--quiet", "--timestamp", EPOCH),
        *("--tag", tag, *build_arguments, *options, str(context)),
    )


def package_index() -> list[str]:
    """Options with which a build's installers reach the package index as this machine's do."""
    options = []
    for variable in CA_BUNDLES:
        if bundle := os.environ.get(variable):
            options += [f"--volume={bundle}:{bundle}:ro", f"--build-arg={variable}={bundle}"]
    if (settings := Path("/etc/pip.conf")).exists():
        options.append(f"--volume={settings}:{settings}:ro")
    return sorted(set(options))


def export(tag: str, folder: Path, held: Mapping[str, int]) -> None:
    """Writes the image in OCI's layout into the empty folder, but for the blobs (SHA-256 -> size) that are held."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, size in held.items():
        with (blobs / digest).open("wb") as placeholder:  # buildah looks only whether there is a file, and at its size
            placeholder.truncate(size)
    _buildah("push", "--disable-compression", "--quiet", tag, f"oci:{folder}:{tag}")
    for digest in held:
        (blobs / digest).unlink()


def _buildah(*arguments: str) -> str:
    store = cache_folder() / "buildah"
    temporary = store / "tmp"  # also what builds cache: packages that pip and uv downloaded
    temporary.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            *(program("unshare"), "--mount"),  # else it leaves mounts on the machine
            *(program("buildah"), "--storage-driver", "overlay"),
            *("--root", store / "images", "--runroot", store / "run", *arguments),
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"`buildah {arguments[0]}` failed ({' '.join(arguments)}):\n{said}")
    return done.stdout
