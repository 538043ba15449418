"""These need the test node; without it they fail, and say what to do."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from chart.helm import helm
from cluster.binaries import PROMETHEUS
from cluster.kubectl import Kubectl
from cluster.node.addons import install_credentials, s3_credentials
from cluster.node.layout import Layout
from cluster.node.machine import node_pid
from node_lab import SYSTEM, NodeRun, install
from servers.prometheus import Prometheus
from servers.prometheus_operator import configuration, install_definitions

from limr.plan import Status

EXAMPLE = Path(__file__).parents[2] / "examples/arithmetic"
BUDGET = {"spec": {"limits": {"deviceHours": 10}}}  # of which the example has none, and metrics speak
RUN_SECONDS = 2400
MONITORS = 2  # the chart's, of the operator and of stages
# Nothing may come in, and nothing may go out but to the name server.
DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "default-deny"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    layout = Layout.of_this_machine()
    if node_pid(layout) is None:
        pytest.fail("no test node runs here; next: make cluster-up images")
    return Kubectl(layout.kubeconfig)


@pytest.fixture(scope="session")
def store_access(kubectl: Kubectl) -> Iterator[None]:
    """The S3 server of the node can be reached by this process."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in s3_credentials(kubectl).items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def installed(kubectl: Kubectl, store_access: None) -> Iterator[Kubectl]:
    """The chart, on the node."""
    install_definitions(kubectl)
    install(kubectl)
    yield kubectl
    helm("uninstall", "limr", "-n", SYSTEM, "--wait", kubeconfig=kubectl.kubeconfig)


@pytest.fixture(scope="session")
def prometheus(installed: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that watches what the chart's monitors select, from the machine."""
    folder = tmp_path_factory.mktemp("prometheus")
    with Prometheus(folder, configuration(installed, SYSTEM, MONITORS, folder), PROMETHEUS.binary()) as prometheus:
        yield prometheus


@pytest.fixture(scope="session")
def arithmetic(installed: Kubectl, prometheus: Prometheus) -> Iterator[NodeRun]:
    """The arithmetic example, once it was applied; watched from its beginning."""
    installed("apply", "-k", EXAMPLE)
    installed("patch", "limr", "arithmetic", "--type=merge", "-p", json.dumps(BUDGET))
    yield NodeRun(installed, "default", "arithmetic")
    installed("delete", "limr", "arithmetic", "--ignore-not-found")


@pytest.fixture(scope="session")
def finished(arithmetic: NodeRun) -> Status:
    return arithmetic.finish(RUN_SECONDS)


@pytest.fixture(scope="session")
def strict_namespace(installed: Kubectl) -> Iterator[str]:
    """One that demands of Pods what the strictest clusters do. (The node's network stores policies only.)"""
    name = f"strict-{secrets.token_hex(3)}"
    installed("create", "namespace", name)
    installed("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    installed.apply(DENY_ALL, namespace=name)
    install_credentials(installed, name)
    yield name
    installed("delete", "namespace", name, seconds=300)
