"""Images, built by buildah in a store of the tests' own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from command import output_of
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
        *("build", "--isolation", "chroot", "--network", "host", "--layers", "--force-rm", "--quiet"),
        *("--timestamp", EPOCH, "--tag", tag, *build_arguments, *options, str(context)),
    )


def run(tag: str, command: Sequence[str], mounts: Mapping[Path, str], user: str) -> str:
    """What `command` prints in a container of the image, with files of this machine mounted to be read."""
    container = _buildah("from", "--pull-never", tag).strip()
    volumes = [f"--volume={path}:{target}:ro" for path, target in mounts.items()]
    try:
        return _buildah("run", "--isolation", "chroot", "--user", user, *volumes, container, "--", *command)
    finally:
        _buildah("rm", container)


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
    """Writes the image in OCI's layout into `folder`, but for the blobs (SHA-256 -> size) that are held already."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, size in held.items():
        with (blobs / digest).open("wb") as placeholder:  # skopeo looks only whether there is a file, and at its size
            placeholder.truncate(size)
    # `buildah push` would compress all layers first and then look which are there: 100 s for the trainer.
    source = f"containers-storage:[overlay@{_store()}/images+{_store()}/run]{tag}"
    _call("skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers", source, f"oci:{folder}:{tag}")
    for digest in held:
        (blobs / digest).unlink()


def _buildah(*arguments: str) -> str:
    store = _store()
    return _call(
        "buildah", "--storage-driver", "overlay", "--root", f"{store}/images", "--runroot", f"{store}/run", *arguments
    )


def _store() -> Path:
    return cache_folder() / "buildah"


def _call(name: str, *arguments: str) -> str:
    _store().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_store()) as temporary:
        return output_of(
            [program("unshare"), "--mount", program(name), *arguments],  # else they leave mounts on the machine
            seconds=BUILD_SECONDS,
            env={**os.environ, "TMPDIR": temporary},  # they keep downloaded packages there: gigabytes
        )
