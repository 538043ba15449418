"""An operator without its loop: each look at an experiment is one call, so a test decides what happens in between."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes
from cluster.control_plane import ControlPlane
from cluster.kuberay import crd_files
from fake_kuberay import FakeKubeRay, Script, succeed

from limr.plan import Phase, Status
from limr_operator import names
from limr_operator.api import KINDS, Api, Conflict, NotFound
from limr_operator.objects import Defaults
from limr_operator.reconcile import Settings, reconcile
from limr_operator.snapshot import Snapshot, trimmed
from limr_operator.watches import CHILDREN, selector

CRD = Path(__file__).parents[1] / "charts/limr/files/crd.yaml"
SETTINGS = Settings(Defaults("limr.test/trainer:dev", "Never"))
MOVES = 400  # a run that needs more is stuck
FINAL = (Phase.COMPLETE, Phase.FAILED)
STAGES = ("preflight", "probe", "select-lim", "train-lim-s1", "report")  # of EXPERIMENT

EXPERIMENT: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "demo"},
    "spec": {
        "model": {"uri": "/models/tiny"},
        "dataset": {"uri": "s3://rl/data/math.json"},
        "storage": {"uri": "s3://rl/experiments", "endpoint": "http://s3.example:9000", "credentialsSecret": "rl-s3"},
        "ppo": {"promptsPerStep": 4, "samplesPerPrompt": 2, "trainBatchSize": 8},
        "probe": {"epochs": 1},
        "arms": [{"name": "lim"}],
    },
}


def condition(status: Status, kind: str) -> tuple[str, str, str]:
    found = next(condition for condition in status.conditions if condition.type == kind)
    return found.status, found.reason, found.message


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    with ControlPlane(folder, controllers=True, crds=[CRD, *crd_files()]) as plane:
        yield plane


def client(kubeconfig: Path) -> kubernetes.client.ApiClient:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    return kubernetes.client.ApiClient(configuration)


class Lab:
    """One experiment in a namespace of its own."""

    def __init__(self, plane: ControlPlane, namespace: str, script: Script = succeed) -> None:
        self.namespace = namespace
        self.client = client(plane.kubeconfig)
        kubernetes.client.CoreV1Api(self.client).create_namespace({"metadata": {"name": namespace}})
        self.api = Api(self.client, fence=lambda: None)
        self.kuberay = FakeKubeRay(self.api, namespace, script)
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.name = EXPERIMENT["metadata"]["name"]

    def apply(self, **spec: Any) -> dict[str, Any]:
        manifest = copy.deepcopy(EXPERIMENT)
        manifest["metadata"] = {"name": self.name, "namespace": self.namespace}
        manifest["spec"] |= spec
        return self.api.apply(manifest)

    def annotate(self, annotations: dict[str, str]) -> None:
        path = KINDS[names.KIND].path(self.namespace, self.name)
        patch = {"metadata": {"annotations": annotations}}
        self.api._request("PATCH", path, patch, "application/merge-patch+json")

    def snapshot(self) -> Snapshot | None:
        try:
            experiment = self.api.get(names.KIND, self.namespace, self.name)
        except NotFound:
            return None
        found = [
            trimmed(kind, body)
            for kind in CHILDREN
            for body in self.api.list(kind, self.namespace, labelSelector=selector(kind))
        ]
        return Snapshot(experiment, found)

    def status(self) -> Status:
        snapshot = self.snapshot()
        assert snapshot is not None
        return Status.model_validate(snapshot.experiment.get("status") or {})

    def look(self, api: Api | None = None) -> float | None:
        """One reconcile, as the operator's worker does it. Looks again where what it knew was stale."""
        while True:
            snapshot = self.snapshot()
            if snapshot is None:
                return None
            try:
                return reconcile(snapshot, api or self.api, SETTINGS, self.now)
            except Conflict:
                continue

    def run(self, until: Callable[[Status], bool] = lambda status: status.phase in FINAL, moves: int = MOVES) -> Status:
        """Time passes by seconds, so that retries come at once."""
        for _ in range(moves):
            self.look()
            status = self.status()
            if until(status):
                return status
            self.wait()
        raise AssertionError(f"still {status.phase} after {moves} moves: {status.to_json()}")

    def wait(self, seconds: int = 5) -> None:
        self.kuberay.move()
        self.now += timedelta(seconds=seconds)

    def objects(self) -> set[str]:
        """Kind and name of everything of ours in the namespace."""
        kinds = (*CHILDREN, "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")
        return {
            f"{kind} {body['metadata']['name']}"
            for kind in kinds
            for body in self.api.list(kind, self.namespace, labelSelector=names.OURS)
        }
