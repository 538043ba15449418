"""KubeRay's manifests, out of its Go module."""

from __future__ import annotations

from pathlib import Path

from cluster.binaries import KUBERAY


def config_folder() -> Path:
    """The module's `config` folder, with its kustomizations."""
    return KUBERAY.source() / "config"


def crd_files() -> list[Path]:
    """RayCluster, RayJob, RayService and RayCronJob."""
    return sorted((config_folder() / "crd" / "bases").glob("*.yaml"))
