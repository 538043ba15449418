"""Kubernetes' own programs, built from its Go module.

`go install` refuses that module, since its go.mod replaces its parts by folders of its repository. Those parts are
modules too, so a go.mod of ours replaces the folders by their releases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from servers.go_program import built_once, run_go

VERSION = "v1.34.4"
PARTS_VERSION = VERSION.replace("v1.", "v0.", 1)
MAJOR, MINOR, _ = VERSION.removeprefix("v").split(".")


def kubernetes_program(name: str) -> Path:
    """kube-apiserver, kubelet, kubectl, …"""

    def build(folder: Path) -> None:
        (folder / "go.mod").write_text(_go_mod(_replaced_parts(folder)))
        flags = ("-mod=mod", "-trimpath", f"-ldflags={_link_flags()}")
        run_go("build", *flags, "-o", name, f"k8s.io/kubernetes/cmd/{name}", cwd=folder)

    return built_once(name, VERSION, build)


def _replaced_parts(folder: Path) -> list[str]:
    (folder / "go.mod").write_text("module limr.dev/tests\n")
    its_go_mod = run_go("list", "-m", "-f", "{{.GoMod}}", f"k8s.io/kubernetes@{VERSION}", cwd=folder).strip()
    return [part["Old"]["Path"] for part in json.loads(run_go("mod", "edit", "-json", its_go_mod))["Replace"]]


def _go_mod(parts: Iterable[str]) -> str:
    lines = [
        "module limr.dev/tests",
        "go 1.24.0",
        "godebug default=go1.24",  # as Kubernetes' own go.mod says
        f"require k8s.io/kubernetes {VERSION}",
        *(f"replace {part} => {part} {PARTS_VERSION}" for part in parts),
    ]
    return "\n".join(lines) + "\n"


def _link_flags() -> str:
    """Helm refuses charts by the version that the API server says it has."""
    package = "k8s.io/component-base/version"
    values = {"gitVersion": VERSION, "gitMajor": MAJOR, "gitMinor": MINOR}
    return " ".join(["-s -w", *(f"-X {package}.{name}={value}" for name, value in values.items())])
