"""The images of the test node: what Kubernetes itself needs as Pods, and ours."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from command import output_of
from servers.go_program import GoProgram, built_once, cache_folder, run_go
from servers.s3_server import SERVER

from cluster import buildah
from cluster.binaries import COREDNS, KUBERAY
from cluster.packages import program

CHECKOUT = Path(__file__).parents[2]
NON_ROOT = "65532:65532"
BASE_PACKAGES = ("ca-certificates", "python3", "python3-venv", "libgomp1", "libnuma1", "libstdc++6")
COMPILERS = ("gcc", "g++", "libc6-dev", "libpython3-dev")  # for what is compiled on GPUs while a stage runs
BASE_SECONDS = 900.0
OURS = ("operator", "trainer")

PAUSE_SOURCE = """package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
}
"""


@dataclass(frozen=True)
class ProgramImage:
    """One static program and nothing else."""

    tag: str
    path: str  # of the program, in the image
    user: str

    def build(self, binary: Path) -> None:
        if buildah.exists(self.tag):
            return
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(binary, Path(folder) / "program")
            lines = ["FROM scratch", f"COPY program {self.path}", f"USER {self.user}", f'ENTRYPOINT ["{self.path}"]']
            (Path(folder) / "Dockerfile").write_text("\n".join(lines) + "\n")
            buildah.build(Path(folder), self.tag, {})


def _image(made_from: GoProgram, path: str, user: str = NON_ROOT) -> ProgramImage:
    return ProgramImage(f"limr.test/{made_from.name}:{made_from.version}", path, user)


PAUSE_IMAGE = ProgramImage("limr.test/pause:1", "/pause", NON_ROOT)
COREDNS_IMAGE = _image(COREDNS, "/coredns", "0:0")  # it serves port 53
KUBERAY_IMAGE = _image(KUBERAY, "/manager")
S3_IMAGE = _image(SERVER, "/versitygw", "0:0")  # its folder is the machine's


def build_node_images() -> list[str]:
    """Their tags."""
    images = {
        PAUSE_IMAGE: built_once("pause", "1", _build_pause),
        COREDNS_IMAGE: COREDNS.binary(),
        KUBERAY_IMAGE: KUBERAY.binary(),
        S3_IMAGE: SERVER.binary(),
    }
    for image, binary in images.items():
        image.build(binary)
    return [image.tag for image in images]


def build_ours(target: str) -> str:
    """The Dockerfile's target, `operator` or `trainer`, on a base image made of Debian packages."""
    return _build(target, f"limr.test/{target}:dev", BASE_PACKAGES, {})


def build_gpu_trainer() -> str:
    """The trainer for GPUs, which the test node cannot run."""
    return _build("trainer", "limr.test/trainer:gpu", (*BASE_PACKAGES, *COMPILERS), {"DEVICES": "gpu"})


def check_gpu_trainer(tag: str) -> str:
    """What the check prints. Raises RuntimeError when something does not load or compile in the image."""
    script = Path(__file__).with_name("gpu_check.py")
    return buildah.run(tag, ["python", "/tmp/gpu_check.py"], {script: "/tmp/gpu_check.py"}, NON_ROOT)


def _build(target: str, tag: str, packages: tuple[str, ...], arguments: dict[str, str]) -> str:
    options = ["--target", target, *buildah.package_index()]
    buildah.build(CHECKOUT, tag, {"BASE_IMAGE": _build_base(packages), **arguments}, options)
    return tag


def _build_pause(folder: Path) -> None:
    (folder / "pause.go").write_text(PAUSE_SOURCE)
    run_go("build", "-ldflags=-s -w", "-o", "pause", "pause.go", cwd=folder)


def _build_base(packages: tuple[str, ...]) -> str:
    tag = f"limr.test/base:bookworm-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:8]}"
    if buildah.exists(tag):
        return tag
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        root = Path(folder) / "base.tar"
        command = [program("mmdebstrap"), "--variant=essential", f"--include={','.join(packages)}", "bookworm", root]
        output_of(command, seconds=BASE_SECONDS)
        (Path(folder) / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        buildah.build(Path(folder), tag, {})
    return tag
