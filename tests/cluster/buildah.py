"""Images, built by buildah in a store of the tests' own."""

from __future__ import annotations

import json
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


def export(tag: str) -> Path:
    """A folder in OCI's image layout with this image alone, where layers that an earlier export wrote are kept."""
    folder = cache_folder() / "oci" / tag.split("/")[-1].split(":")[0]
    folder.parent.mkdir(parents=True, exist_ok=True)
    _buildah("push", "--disable-compression", "--quiet", tag, f"oci:{folder}:{tag}")
    _prune(folder, tag)
    return folder


def layers(folder: Path) -> set[Path]:
    """Of the images in the layout."""
    digests = {layer["digest"] for manifest in _manifests(folder) for layer in manifest["layers"]}
    return {_blob(folder, digest) for digest in digests}


def _prune(folder: Path, tag: str) -> None:
    index = json.loads((folder / "index.json").read_text())
    name = "org.opencontainers.image.ref.name"
    index["manifests"] = [entry for entry in index["manifests"] if entry.get("annotations", {}).get(name) == tag]
    (folder / "index.json").write_text(json.dumps(index))
    used = layers(folder) | {_blob(folder, entry["digest"]) for entry in index["manifests"]}
    used |= {_blob(folder, manifest["config"]["digest"]) for manifest in _manifests(folder)}
    for blob in (folder / "blobs" / "sha256").iterdir():
        if blob not in used:
            blob.unlink()


def _manifests(folder: Path) -> list[dict[str, object]]:
    index = json.loads((folder / "index.json").read_text())
    return [json.loads(_blob(folder, entry["digest"]).read_text()) for entry in index["manifests"]]


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / digest.replace(":", "/")


def _buildah(*arguments: str) -> str:
    store = cache_folder() / "buildah"
    temporary = store / "tmp"  # also what builds cache: packages that pip and uv downloaded
    temporary.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
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
