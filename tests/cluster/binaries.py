"""The Go programs of the test clusters, each built once: `python -m cluster.binaries` builds all ahead of the tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from servers.go_program import GoProgram

from cluster import packages
from cluster.kubernetes_module import kubernetes_program

KUBERAY = GoProgram("kuberay-operator", "github.com/ray-project/kuberay/ray-operator", "v1.6.0", whole_module=True)
COREDNS = GoProgram("coredns", "github.com/coredns/coredns", "v1.12.4")
HELM = GoProgram("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
KUBECONFORM = GoProgram("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0")

CONTROL_PLANE = ("kube-apiserver", "kubectl", "kube-controller-manager")
NODE = ("kube-scheduler", "kubelet", "kube-proxy")
# A version whose checksum the public database has. The chart's tests need its CustomResourceDefinitions only.
PROMETHEUS_OPERATOR = GoProgram(
    "prometheus-operator",
    "github.com/prometheus-operator/prometheus-operator/cmd/operator",
    "v0.85.0",
    module="github.com/prometheus-operator/prometheus-operator",
)
# 3.5.0; Debian's finds nothing on Kubernetes.
PROMETHEUS = GoProgram(
    "prometheus",
    "github.com/prometheus/prometheus/cmd/prometheus",
    "v0.305.0",
    module="github.com/prometheus/prometheus",
)

CHART_TOOLS = (HELM, KUBECONFORM)


def build_all(only_control_plane: bool) -> list[Path]:
    """What the tests' time limits leave no time for, with the Debian packages that belong to it."""
    packages.install_missing(packages.CONTROL_PLANE if only_control_plane else packages.NODE | packages.LOOKS)
    built = [kubernetes_program(name) for name in CONTROL_PLANE]
    if not only_control_plane:
        built += [kubernetes_program(name) for name in NODE]
        built += [program.binary() for program in (KUBERAY, COREDNS, PROMETHEUS_OPERATOR, PROMETHEUS)]
    return built


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cluster.binaries", description=__doc__)
    parser.add_argument("--control-plane", action="store_true", help="only what the light level needs")
    for binary in build_all(parser.parse_args().control_plane):
        print(binary)


if __name__ == "__main__":
    main()
