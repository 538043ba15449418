"""What a stage may do: patch the ConfigMap of its attempt, and speak with its own Pods, its store and the API.

Stages that share a RayCluster share the account too; its Role is then of the attempt that began last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from limr.config_map import INPUT, STOP
from limr.stage import METRICS_PORT
from limr_operator.objects.common import Attempt, Manifest, Workplace

RBAC = "rbac.authorization.k8s.io"
# DNS, HTTPS, the Kubernetes API behind its Service, and plain HTTP for model hubs behind a proxy.
PORTS = ((53, "UDP"), (53, "TCP"), (443, "TCP"), (6443, "TCP"), (80, "TCP"))
DASHBOARD_PORT = 8265  # KubeRay submits jobs there
RAY_METRICS_PORT = 8080
KUBERAY = {"key": "app.kubernetes.io/name", "operator": "In", "values": ["kuberay", "kuberay-operator"]}


def config_map(attempt: Attempt) -> Manifest:
    """The channel between operator and stage; the stage adds progress and result."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": attempt.workplace.metadata(attempt.name, attempt.labels),
        "data": {INPUT: attempt.stage_input.to_json()},
    }


def stop_request(attempt_map: Mapping[str, Any], reason: str) -> Manifest:
    """What to apply to the ConfigMap of a running attempt, so that it keeps what is done and ends."""
    metadata = attempt_map["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "labels", "ownerReferences")}
    data = {INPUT: attempt_map["data"][INPUT], STOP: reason}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept, "data": data}


def service_account(place: Workplace) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": place.metadata(place.name, place.labels),
        "automountServiceAccountToken": False,  # the one Pod that needs it says so
    }


def role(place: Workplace, attempt: str) -> Manifest:
    """Of this attempt only: whatever is left of an earlier one can say nothing any more."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [attempt], "verbs": ["patch"]}
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": place.metadata(place.name, place.labels),
        "rules": [rule],
    }


def role_binding(place: Workplace) -> Manifest:
    subject = {"kind": "ServiceAccount", "name": place.service_account, "namespace": place.namespace}
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": place.metadata(place.name, place.labels),
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": place.name},
        "subjects": [subject],
    }


def network_policy(place: Workplace) -> Manifest:
    own = {"podSelector": place.pod_selector}
    anywhere: dict[str, Any] = {"namespaceSelector": {}}
    kuberay = {**anywhere, "podSelector": {"matchExpressions": [KUBERAY]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": place.metadata(place.name, place.labels),
        "spec": {
            "podSelector": own["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [own]},
                {"from": [kuberay], "ports": [_port(DASHBOARD_PORT)]},
                {"from": [anywhere], "ports": [_port(METRICS_PORT), _port(RAY_METRICS_PORT)]},
            ],
            "egress": [{"to": [own]}, {"ports": [_port(*port) for port in _outgoing(place)]}],
        },
    }


def _outgoing(place: Workplace) -> list[tuple[int, str]]:
    spec = place.experiment.spec
    servers = [spec.storage.endpoint, *(tracker.server for tracker in spec.tracking)]
    ports = [urlsplit(server).port for server in servers if server]
    return sorted({*PORTS, *((port, "TCP") for port in ports if port)})


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol}
