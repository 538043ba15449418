"""KubeRay's manifests, out of its Go module."""

from __future__ import annotations

import json
from pathlib import Path

from servers.go_program import run_go

from cluster.binaries import KUBERAY


def config_folder() -> Path:
    """The module's `config` folder, with its kustomizations."""
    module = json.loads(run_go("mod", "download", "-json", f"{KUBERAY.package}@{KUBERAY.version}"))
    return Path(module["Dir"]) / "config"


def crd_files() -> list[Path]:
    """RayCluster, RayJob, RayService and RayCronJob."""
    return sorted((config_folder() / "crd" / "bases").glob("*.yaml"))
