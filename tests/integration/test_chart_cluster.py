"""The chart on a real API server: what it stores, what it lets the operator do, upgrades and uninstalls."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from chart.helm import CHART, Object, helm, newer_chart, only, rendered
from chart.manifests import FOLDER
from chart.rights import Right, documented, granted
from cluster.control_plane import ControlPlane
from cluster.daemons import Daemon, answers, free_ports, wait_for_server, wait_until
from cluster.kubectl import Kubectl
from cluster.kuberay import crd_files
from cluster.packages import program
from kubernetes import client, config
from operator_lab import EXPERIMENT, Lab
from operator_lab import client as api_client

from limr.plan import Phase, Status
from limr_operator.api import Api

pytestmark = pytest.mark.integration

NAMESPACE, RESEARCH = "limr-system", "research"
NAMESPACED = ("--set", f"namespaces={{{RESEARCH}}}")
ACCOUNT = "system:serviceaccount:limr-system:limr"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), controllers=True, crds=crd_files()) as plane:
        plane.kubectl("apply", "-f", FOLDER / "base" / "namespace.yaml")
        for name in (RESEARCH, "elsewhere"):
            plane.kubectl("create", "namespace", name)
        yield plane


@pytest.fixture(scope="module")
def bare_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without KubeRay."""
    with ControlPlane(tmp_path_factory.mktemp("bare"), controllers=True) as plane:
        yield plane


@contextmanager
def installed(plane: ControlPlane, *values: str) -> Iterator[str]:
    """The chart while it is a context; what Helm said."""
    yield helm("install", "limr", CHART, "-n", NAMESPACE, "--create-namespace", *values, kubeconfig=plane.kubeconfig)
    helm("uninstall", "limr", "-n", NAMESPACE, kubeconfig=plane.kubeconfig)


@pytest.fixture
def cluster_wide(plane: ControlPlane) -> Iterator[str]:
    with installed(plane) as notes:
        yield notes


@pytest.fixture
def namespaced(plane: ControlPlane) -> Iterator[str]:
    with installed(plane, *NAMESPACED) as notes:
        yield notes


def rights(plane: ControlPlane, namespace: str) -> set[Right]:
    return granted(plane.kubectl, namespace, "limr", NAMESPACE)


def experiment(namespace: str, name: str = "demo", **spec: Any) -> Object:
    return {
        **EXPERIMENT,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**EXPERIMENT["spec"], **spec},
    }


@pytest.mark.parametrize("values", [(), NAMESPACED], ids=["cluster-wide", "namespaced"])
def test_the_api_server_takes_all_of_it(values: tuple[str, ...], plane: ControlPlane) -> None:
    objects = [thing for thing in rendered(*values) if thing["kind"] != "Pod"]  # its account must exist: see below
    text = yaml.safe_dump_all(objects)
    said = plane.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert len(said.splitlines()) == len(objects)


@pytest.mark.parametrize("overlay", ["base", "namespaced"])
def test_the_api_server_takes_the_manifests(overlay: str, plane: ControlPlane) -> None:
    for how in ("--server-side=true", "--server-side=false"):
        plane.kubectl("apply", how, "--dry-run=server", "--validate=strict", "-k", FOLDER / overlay)


def test_pods_pass_the_restricted_standard(cluster_wide: str, plane: ControlPlane) -> None:
    template = only(rendered(), "Deployment")["spec"]["template"]
    operator = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": template["spec"]}
    test = only(rendered("--set", "serviceAccount.name=x"), "Pod")
    test["spec"]["serviceAccountName"] = "limr"
    for pod in (operator, test):
        done = plane.kubectl.run("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(pod))
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    operator["spec"]["securityContext"] = {}
    done = plane.kubectl.run("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(operator))
    assert 'violates PodSecurity "restricted' in done.stderr


def test_rights_of_all_namespaces(cluster_wide: str, plane: ControlPlane) -> None:
    assert rights(plane, NAMESPACE) == documented(["work", "own", "cluster"])
    assert rights(plane, "elsewhere") == documented(["work", "cluster"])


def test_rights_of_listed_namespaces(namespaced: str, plane: ControlPlane) -> None:
    assert rights(plane, NAMESPACE) == documented(["work", "own", "cluster"])
    assert rights(plane, RESEARCH) == documented(["work", "cluster"])
    assert rights(plane, "elsewhere") == documented(["cluster"])


def test_no_secret_can_be_read(cluster_wide: str, plane: ControlPlane) -> None:
    for verb in ("get", "list", "watch", "create", "delete"):
        asked = plane.kubectl.run("auth", "can-i", verb, "secrets", "-n", NAMESPACE, f"--as={ACCOUNT}")
        assert asked.stdout.strip() == "no"


def test_people_who_may_view_or_edit_a_namespace(cluster_wide: str, plane: ControlPlane) -> None:
    users = {role: Kubectl(plane.kubeconfig_for(f"a-{role}")) for role in ("view", "edit")}
    for role in users:
        plane.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user=a-{role}", "-n", RESEARCH)

    def may(role: str, verb: str, *more: str) -> bool:
        return users[role].run("auth", "can-i", verb, "limr", *more, "-n", RESEARCH).stdout.strip() == "yes"

    wait_until(lambda: may("view", "list") and may("edit", "delete"), "the aggregated rights", 20)
    assert may("edit", "get")
    assert may("edit", "patch")
    assert not may("view", "create")
    assert not may("edit", "update", "--subresource=status")


class LabOfTheOperator(Lab):
    """With the rights that the chart gives."""

    def look(self, api: Api | None = None) -> float | None:
        return super().look(self.operators_api)

    operators_api: Api


def test_an_experiment_needs_no_other_right(cluster_wide: str, plane: ControlPlane) -> None:
    lab = LabOfTheOperator(plane, "whole")
    lab.operators_api = Api(api_client(plane.kubeconfig_of("limr", NAMESPACE)), fence=lambda: None)
    plane.kubectl("create", "priorityclass", "high", "--value=1")
    plane.kubectl("create", "serviceaccount", "cloud", "-n", "whole")
    plane.kubectl("create", "configmap", "ca", "-n", "whole")
    storage = {"uri": "s3://rl/experiments", "caConfigMap": "ca", "serviceAccountName": "cloud"}

    lab.apply(storage=storage, schedule={"queue": "none"})
    lab.look()
    assert accepted(lab.status()) == "QueueMissing"
    lab.apply(storage=storage, schedule={"priorityClass": "high"})
    lab.run(lambda status: status.stages["probe"].progress is not None)
    lab.apply(storage=storage, schedule={"suspend": True})
    lab.run(lambda status: status.phase is Phase.SUSPENDED)
    lab.apply(storage=storage, ttlSecondsAfterFinished=3600)
    assert lab.run().phase is Phase.COMPLETE
    assert not [event for event in lab.api.list("Event", "whole") if event["type"] == "Warning"][1:]  # QueueMissing
    lab.apply(storage=storage, ttlSecondsAfterFinished=0)
    lab.look()
    wait_until(lambda: lab.snapshot() is None, "its deletion after its time", 30)


def accepted(status: Status) -> str:
    return next(condition.reason for condition in status.conditions if condition.type == "Accepted")


@contextmanager
def operator(plane: ControlPlane, folder: Path, *values: str) -> Iterator[Daemon]:
    """The operator as the Deployment would start it, as a process of this machine with its ServiceAccount's token."""
    (port,) = free_ports(1)
    arguments = only(rendered(*values), "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    arguments = [text.replace("$(POD_NAMESPACE)", NAMESPACE).replace("8080", str(port)) for text in arguments]
    environment = [
        f"KUBECONFIG={plane.kubeconfig_of('limr', NAMESPACE)}",
        f"POD_NAMESPACE={NAMESPACE}",
        "POD_NAME=operator-0",
    ]
    command = [program("env"), *environment, sys.executable, "-m", "limr_operator", *arguments]
    with Daemon("operator", command, folder / "operator.log") as daemon:
        wait_for_server(daemon, lambda: answers(f"http://127.0.0.1:{port}/readyz"), 60)
        assert answers(f"http://127.0.0.1:{port}/healthz")
        yield daemon
    said = daemon.log.read_text()
    assert "forbidden" not in said.lower(), said
    assert "Traceback" not in said, said


def seen(plane: ControlPlane, namespace: str) -> bool:
    return bool(plane.kubectl.get("limr", "demo", "-n", namespace).get("status"))


def begun(plane: ControlPlane, namespace: str) -> bool:
    return plane.kubectl.run("get", "job", "demo--preflight-1", "-n", namespace).returncode == 0


def test_the_operator_works_with_its_rights(cluster_wide: str, plane: ControlPlane, tmp_path: Path) -> None:
    with operator(plane, tmp_path):
        plane.kubectl.apply(experiment("elsewhere"), namespace="elsewhere")
        wait_until(lambda: begun(plane, "elsewhere"), "the first Job", 30)
        lease = plane.kubectl.get("lease", "limr", "-n", NAMESPACE)
        assert lease["spec"]["holderIdentity"] == "operator-0"
        plane.kubectl("delete", "limr", "demo", "-n", "elsewhere")


def test_the_operator_works_for_listed_namespaces_only(namespaced: str, plane: ControlPlane, tmp_path: Path) -> None:
    with operator(plane, tmp_path, *NAMESPACED):
        for namespace in ("elsewhere", RESEARCH, NAMESPACE):
            plane.kubectl.apply(experiment(namespace), namespace=namespace)
        for namespace in (RESEARCH, NAMESPACE):
            wait_until(lambda where=namespace: begun(plane, where), "the first Job", 30)
        assert not seen(plane, "elsewhere")
        for namespace in ("elsewhere", RESEARCH, NAMESPACE):
            plane.kubectl("delete", "limr", "demo", "-n", namespace)


@pytest.fixture
def helm_test() -> ModuleType:
    spec = importlib.util.spec_from_file_location("helm_test", CHART / "files" / "helm_test.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_helm_test_runs(cluster_wide: str, plane: ControlPlane, helm_test: ModuleType, tmp_path: Path) -> None:
    hooks = [thing for thing in rendered() if "helm.sh/hook" in thing["metadata"].get("annotations", {})]
    plane.kubectl.apply(*(thing for thing in hooks if thing["kind"] != "Pod"), namespace=NAMESPACE)
    manifest = json.loads(only(hooks, "ConfigMap")["data"]["experiment.json"])
    account = config.new_client_from_config(str(plane.kubeconfig_of("limr-test", NAMESPACE)))
    test = helm_test.Experiments(manifest, client.CustomObjectsApi(account))
    test.remove()  # nothing
    test.create()
    with pytest.raises(SystemExit, match="was not Accepted within 3 s"):  # nobody works
        test.wait_for("Accepted", 3)
    test.remove()
    with operator(plane, tmp_path):
        test.create()
        test.wait_for("Accepted", 30)
        test.remove()
        manifest["spec"]["schedule"] = {"queue": "none"}
        test.create()
        with pytest.raises(SystemExit, match=r"Accepted=False \(QueueMissing\): there is no Kueue LocalQueue none"):
            test.wait_for("Complete", 30)
        test.remove()
    manifest["spec"]["modell"] = {}
    with pytest.raises(client.ApiException, match="unknown field"):
        test.create()


def test_notes(bare_plane: ControlPlane, plane: ControlPlane) -> None:
    with installed(plane) as said:
        assert "works for all namespaces" in said
        assert "WARNING" not in said
        assert "helm test limr -n limr-system" in said
    with installed(plane, *NAMESPACED) as said:
        assert "works for the namespaces limr-system, research" in said
    with installed(bare_plane) as said:
        assert "WARNING: this cluster has no RayJobs" in said


def test_an_upgrade_reaches_the_crd_and_an_uninstall_keeps_it(bare_plane: ControlPlane, tmp_path: Path) -> None:
    kubectl, kubeconfig = bare_plane.kubectl, bare_plane.kubeconfig
    next_chart = newer_chart(tmp_path)
    with installed(bare_plane):
        kubectl("wait", "--for=condition=Established", "crd/limrexperiments.limr.dev", "--timeout=30s")
        kubectl.apply(experiment("default"))
        helm("upgrade", "limr", next_chart, "-n", NAMESPACE, kubeconfig=kubeconfig)
        wait_until(lambda: "NEWS" in kubectl("get", "limr"), "the new column", 20)
    assert left(kubectl) == ["customresourcedefinition/limrexperiments.limr.dev"]
    assert kubectl.get("limr", "demo")["spec"]["seed"] == 1
    with installed(bare_plane):  # it takes over what was kept
        assert kubectl.get("limr", "demo")["spec"]["seed"] == 1
        helm("upgrade", "limr", CHART, "-n", NAMESPACE, "--set", "crds.keep=false", kubeconfig=kubeconfig)
    wait_until(lambda: left(kubectl) == [], "the end of the CRD", 30)


def left(kubectl: Kubectl) -> list[str]:
    """Of the release, in all the cluster."""
    kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,deployment,serviceaccount,pdb,networkpolicy,configmap"
    found = kubectl("get", kinds, "-A", "-l", "app.kubernetes.io/instance=limr", "-o", "json")
    return [f"{thing['kind'].lower()}/{thing['metadata']['name']}" for thing in json.loads(found)["items"]]
