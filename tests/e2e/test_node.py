"""The real level of the test cluster. These need `make cluster-up`, and those with Ray also `make images`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cluster.daemons import wait_until
from cluster.kubectl import Kubectl
from cluster.node.addons import S3_BUCKET, s3_client
from cluster.node.containerd import Containerd
from cluster.node.layout import Layout

LAYOUT = Layout.of_this_machine()
OPERATOR, TRAINER = "limr.test/operator:dev", "limr.test/trainer:dev"
POD_SECONDS = 120
RAY_SECONDS = 280


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A fresh one that demands of Pods what the strictest clusters do."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def images(kubectl: Kubectl) -> set[str]:
    here = Containerd(LAYOUT).images()
    if missing := {OPERATOR, TRAINER} - here:
        pytest.fail(f"the node has no {', '.join(sorted(missing))}: make images")
    return here


def container(image: str, *command: str, **more: object) -> dict[str, Any]:
    return {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": list(command),
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        **more,
    }


def pod_spec(*containers: dict[str, Any]) -> dict[str, Any]:
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"restartPolicy": "Never", "securityContext": restricted, "containers": list(containers)}


def pod(name: str, *containers: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(*containers)}


def run_to_its_end(kubectl: Kubectl, namespace: str, image: str, *command: str) -> str:
    """What a Pod of it printed."""
    kubectl.apply(pod("short", container(image, *command)), namespace=namespace)

    def phase() -> str:
        return str(kubectl.get("pod", "short", "-n", namespace)["status"].get("phase"))

    wait_until(lambda: phase() in ("Succeeded", "Failed"), "the end of the Pod", POD_SECONDS, poll=0.5)
    printed = kubectl("logs", "short", "-n", namespace)
    assert phase() == "Succeeded", printed
    return printed


def test_a_pod_runs_restricted_and_resolves_services(kubectl: Kubectl, namespace: str, images: set[str]) -> None:
    code = """
import os, socket, sys
from importlib.util import find_spec
import kopf, limr_operator
print(os.getuid(), find_spec("torch"), socket.gethostbyname("s3.s3.svc.cluster.local"))
socket.create_connection(("s3.s3.svc.cluster.local", 80), timeout=10).close()
"""
    assert run_to_its_end(kubectl, namespace, OPERATOR, "python", "-c", code) == "65532 None 10.96.0.20\n"


def test_the_bucket_is_there_for_this_machine_too(kubectl: Kubectl) -> None:
    client = s3_client(kubectl)
    client.put_object(Bucket=S3_BUCKET, Key="hello", Body=b"world")
    assert client.get_object(Bucket=S3_BUCKET, Key="hello")["Body"].read() == b"world"


def test_a_rayjob_succeeds_with_token_authentication(kubectl: Kubectl, namespace: str, images: set[str]) -> None:
    def ray_group(memory: str) -> dict[str, Any]:
        home = {"name": "home", "emptyDir": {}}
        temporary = {"name": "tmp", "emptyDir": {}}
        mounts = [{"name": "home", "mountPath": "/home/limr"}, {"name": "tmp", "mountPath": "/tmp"}]
        resources = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": memory}}
        template = container(TRAINER, resources=resources, volumeMounts=mounts)
        del template["command"]
        return {"spec": pod_spec(template) | {"volumes": [home, temporary], "restartPolicy": "Always"}}

    code = "import ray; ray.init(); print(ray.get(ray.remote(lambda: 6 * 7).remote()), len(ray.nodes()))"
    start = {"object-store-memory": "100000000", "num-cpus": "1"}
    worker = {"groupName": "worker", "replicas": 1, "minReplicas": 1, "maxReplicas": 1, "rayStartParams": start}
    cluster = {
        "rayVersion": "2.60.0",
        "authOptions": {"mode": "token"},
        "headGroupSpec": {"rayStartParams": start, "template": ray_group("3Gi")},
        "workerGroupSpecs": [worker | {"template": ray_group("2Gi")}],
    }
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "sum"},
        "spec": {
            "entrypoint": f"python -c {json.dumps(code)}",
            "submissionMode": "HTTPMode",
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": cluster,
        },
    }
    kubectl.apply(job, namespace=namespace)

    def status() -> dict[str, Any]:
        found: dict[str, Any] = kubectl.get("rayjob", "sum", "-n", namespace).get("status", {})
        return found

    ended = ("Complete", "Failed", "ValidationFailed")
    wait_until(lambda: status().get("jobDeploymentStatus") in ended, "the end of the RayJob", RAY_SECONDS, poll=1)
    assert status()["jobStatus"] == "SUCCEEDED", json.dumps(status(), indent=1)
