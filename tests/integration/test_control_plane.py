"""The light level of the test cluster: a real API server that starts in seconds and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.daemons import wait_until
from cluster.kubectl import Kubectl
from cluster.kuberay import crd_files

pytestmark = pytest.mark.integration


def config_map(name: str, **metadata: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"answer": "42"}}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), controllers=True, crds=crd_files()) as plane:
        yield plane


def test_it_starts_in_seconds_and_its_processes_end_with_it(tmp_path: Path) -> None:
    began = time.monotonic()
    with ControlPlane(tmp_path) as plane:
        assert time.monotonic() - began < 30
        pids = [plane.pid_of("etcd"), plane.pid_of("kube-apiserver")]
        assert "default" in plane.kubectl("get", "namespaces")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_its_processes_end_with_a_test_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from cluster.control_plane import ControlPlane
with ControlPlane(Path({str(tmp_path)!r})) as plane:
    print(plane.pid_of("etcd"), plane.pid_of("kube-apiserver"), flush=True)
    time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as test:
        assert test.stdout is not None
        pids = test.stdout.readline().split()
        test.kill()
    assert len(pids) == 2
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of the servers", 10)


def test_objects_are_kept_and_unknown_fields_refused(plane: ControlPlane) -> None:
    plane.kubectl.apply(config_map("kept"))
    assert plane.kubectl.get("configmap", "kept")["data"] == {"answer": "42"}
    with pytest.raises(RuntimeError, match="unknown field"):
        plane.kubectl.apply(config_map("misspelt") | {"dada": {}})


def test_kuberays_resources_are_served(plane: ControlPlane) -> None:
    assert plane.kubectl.get("rayjobs")["items"] == []


def test_what_is_owned_ends_with_its_owner(plane: ControlPlane) -> None:
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "owner"},
        "spec": {"entrypoint": "true", "rayClusterSpec": {"headGroupSpec": {"template": {"spec": {"containers": []}}}}},
    }
    plane.kubectl.apply(job)
    uid = plane.kubectl.get("rayjob", "owner")["metadata"]["uid"]
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "owner", "uid": uid}
    plane.kubectl.apply(config_map("owned", ownerReferences=[owner]))
    plane.kubectl("delete", "rayjob", "owner")
    plane.kubectl("wait", "--for=delete", "configmap/owned", "--timeout=30s")


def test_a_user_may_do_what_rbac_says(plane: ControlPlane) -> None:
    reader = Kubectl(plane.kubeconfig_for("reader", "limr:readers"))
    assert "forbidden" in reader.run("get", "configmaps").stderr
    plane.kubectl("create", "rolebinding", "readers", "--clusterrole=view", "--group=limr:readers")
    wait_until(lambda: reader.run("get", "configmaps").returncode == 0, "the right to read", 10)
    assert "forbidden" in reader.run("create", "configmap", "mine").stderr


def test_a_service_account_has_a_token(plane: ControlPlane) -> None:
    plane.kubectl("create", "serviceaccount", "stage")
    stage = Kubectl(plane.kubeconfig_of("stage"))
    assert "system:serviceaccount:default:stage" in stage("auth", "whoami", "-o", "json")
