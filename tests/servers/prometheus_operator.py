"""The Prometheus operator, for what it makes of a cluster's monitors and rules: the configuration of a Prometheus."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

import yaml
from cluster.binaries import PROMETHEUS_OPERATOR
from cluster.daemons import Daemon, free_ports, wait_until
from cluster.kubectl import Kubectl
from cluster.packages import program

SECONDS = 120.0
NAME = "watch"
# It selects everything there is; replicas 0 because the real one runs beside the cluster.
PROMETHEUS = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "Prometheus",
    "metadata": {"name": NAME},
    "spec": {
        "version": "v3.5.0",
        "replicas": 0,
        **{f"{what}Selector": {} for what in ("serviceMonitor", "podMonitor", "rule")},
        **{f"{what}NamespaceSelector": {} for what in ("serviceMonitor", "podMonitor", "rule")},
    },
}


def install_definitions(kubectl: Kubectl) -> None:
    folder = PROMETHEUS_OPERATOR.source() / "example" / "prometheus-operator-crd"
    kubectl.install_crds(sorted(folder.glob("*.yaml")))


def configuration(kubectl: Kubectl, namespace: str, monitors: int, folder: Path) -> dict[str, Any]:
    """What a Prometheus on this machine needs to see what one in the cluster would: of so many monitors, and the rules.

    The operator runs until it has written it. `folder` keeps the rules.
    """
    kubectl.apply(PROMETHEUS, namespace=namespace)
    (port,) = free_ports(1)
    command = [
        program("env"),
        f"KUBECONFIG={kubectl.kubeconfig}",
        PROMETHEUS_OPERATOR.binary(),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    found: dict[str, Any] = {}

    def written() -> bool:
        found.update(_written(kubectl, namespace))
        return len(found.get("scrape_configs", ())) == monitors and bool(_rules(kubectl, namespace))

    try:
        with Daemon("prometheus-operator", command, folder / "prometheus-operator.log"):
            wait_until(written, "a configuration by the Prometheus operator", SECONDS, poll=1)
        return _for_this_machine(found, _rules(kubectl, namespace), kubectl.kubeconfig, folder)
    finally:
        kubectl("delete", "prometheus", NAME, "-n", namespace)


def _written(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    secrets = kubectl.get("secrets", "-n", namespace, f"--field-selector=metadata.name=prometheus-{NAME}")["items"]
    data = secrets[0].get("data", {}) if secrets else {}
    text = data.get("prometheus.yaml.gz")
    return yaml.safe_load(_reloaded(gzip.decompress(base64.b64decode(text)).decode())) if text else {}


def _reloaded(text: str) -> str:
    """As the first replica's config reloader, which stands beside a Prometheus in its Pod, would pass it on."""
    return text.replace("$(SHARD)", "0").replace("$(POD_NAME)", f"prometheus-{NAME}-0")


def _rules(kubectl: Kubectl, namespace: str) -> dict[str, str]:
    maps = kubectl.get("configmaps", "-n", namespace, "-l", f"prometheus-name={NAME}")["items"]
    return {name: text for found in maps for name, text in found.get("data", {}).items()}


def _for_this_machine(written: dict[str, Any], rules: dict[str, str], kubeconfig: Path, folder: Path) -> dict[str, Any]:
    """With this machine's way to the API server, and its files."""
    for name, text in rules.items():
        (folder / name).write_text(text)
    for scrape in written["scrape_configs"]:
        for discovery in scrape["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(kubeconfig)
    kept = {key: written[key] for key in ("global", "scrape_configs")}
    return {**kept, "rule_files": [str(folder / name) for name in rules]}
