"""Experiments on the test node, as a user starts, watches and disturbs them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from chart import monitoring
from chart.helm import CHART, helm
from cluster.daemons import wait_until
from cluster.kubectl import Kubectl
from cluster.kubernetes_module import kubernetes_program
from cluster.node.addons import S3_ADDRESS, S3_BUCKET, S3_ENDPOINT
from command import output_of
from runs import EXPERIMENT, trajectory_rows
from terminal import COLUMNS, LINES, screen

from limr.plan import Phase, Status
from limr.store import open_store
from limr.store.base import Store
from limr.store.manifest import Manifest, read_manifest
from limr_operator import names

SYSTEM = "limr-system"
IMAGES = {"image": "limr.test/operator", "trainer.image": "limr.test/trainer"}
FILES = "/opt/limr/examples/arithmetic"  # in the trainer image
STORAGE = {"uri": f"s3://{S3_BUCKET}/experiments", "endpoint": S3_ENDPOINT, "credentialsSecret": "s3"}
# What the small model needs; the node has two cores for everything.
PLACES = {
    "driver": {"cpus": 0.1, "memoryGib": 4},
    "learner": {"gpus": 0, "cpus": 0.1, "memoryGib": 5},
    "rollout": {"gpus": 0, "cpus": 0.1, "memoryGib": 7},
}
KINDS = "rayclusters,rayjobs,jobs,pods,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"
FINAL = (Phase.COMPLETE, Phase.FAILED)
DELETE_SECONDS = 240
SCRAPE_SECONDS = 5
LIMR_SECONDS = 120


def small_spec(**parts: Any) -> dict[str, Any]:
    """The small experiment of the integration tests as the node can run it, with `parts` in place of its own."""
    evaluation = {"benchmarks": [{"name": "sums", "uri": f"{FILES}/benchmark.jsonl", "limit": 40}]}
    files = {
        "model": {"uri": f"{FILES}/model", "dtype": "float32"},
        "dataset": {"uri": f"{FILES}/dataset.jsonl"},
        "evaluation": evaluation,
    }
    return {**EXPERIMENT["spec"], **files, "storage": STORAGE, "cluster": PLACES, **parts}


def install(kubectl: Kubectl, *settings: str, chart: Path = CHART) -> None:
    """The chart with this checkout's images and all that watches it, or an upgrade to it."""
    images = [f"--set={key}.repository={image},{key}.tag=dev,{key}.pullPolicy=Never" for key, image in IMAGES.items()]
    helm(
        *("upgrade", "--install", "limr", chart, "-n", SYSTEM, "--create-namespace", "--wait", "--timeout", "2m"),
        *images,
        *(*monitoring.VALUES, "--set", f"metrics.interval={SCRAPE_SECONDS}s"),
        *settings,
        kubeconfig=kubectl.kubeconfig,
        seconds=180,
    )


def limr(kubectl: Kubectl, *words: str | Path) -> str:
    """What `kubectl limr` prints, without credentials of its own."""
    return output_of(["kubectl", "limr", *words], seconds=LIMR_SECONDS, env=_person(kubectl))


def status_screen(kubectl: Kubectl, name: str, folder: Path) -> list[str]:
    """What `kubectl limr status` shows on a terminal, of which every line must fit it."""
    shown = screen(["kubectl", "limr", "status", name], folder, _person(kubectl))
    print("\n".join(shown), file=sys.stderr)
    assert len(shown) < LINES
    assert max(map(len, shown)) <= COLUMNS
    return shown


def _person(kubectl: Kubectl) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KUBE"))}
    path = f"{kubernetes_program('kubectl').parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "KUBECONFIG": str(kubectl.kubeconfig)}


class NodeRun:
    """One experiment that is in the cluster already, or will be by `apply`."""

    def __init__(self, kubectl: Kubectl, namespace: str, name: str) -> None:
        self._kubectl = kubectl
        self.namespace, self.name = namespace, name

    def apply(self, spec: dict[str, Any]) -> None:
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": self.name},
            "spec": spec,
        }
        self._kubectl.apply(manifest, namespace=self.namespace)

    def suspend(self, wanted: bool) -> None:
        patch = f'{{"spec": {{"schedule": {{"suspend": {str(wanted).lower()}}}}}}}'
        self._kubectl("patch", "limr", self.name, "-n", self.namespace, "--type=merge", "-p", patch)

    def status(self) -> Status:
        return Status.model_validate(self._kubectl.get("limr", self.name, "-n", self.namespace).get("status") or {})

    def wait(self, holds: Callable[[Status], bool], seconds: float) -> Status:
        """Shows each change of what `kubectl get limr` says on the way."""
        deadline, shown = time.monotonic() + seconds, ""
        while True:
            line = " ".join(self._kubectl("get", "limr", self.name, "-n", self.namespace, "--no-headers").split()[:-1])
            if line != shown:
                print(f"{time.strftime('%X')} {line}", file=sys.stderr, flush=True)
                shown = line
            status = self.status()
            if holds(status):
                return status
            if status.phase in FINAL or time.monotonic() > deadline:
                raise AssertionError(f"not what was waited for: {status.to_json()}")
            time.sleep(0.3)

    def finish(self, seconds: float) -> Status:
        status = self.wait(lambda status: status.phase in FINAL, seconds)
        assert status.phase is Phase.COMPLETE, status.conditions
        return status

    def at_step(self, stage: str, step: int, seconds: float) -> None:
        """Waits until that stage says that it has done so many steps."""

        def there(status: Status) -> bool:
            progress = status.stages[stage].progress if stage in status.stages else None
            return progress is not None and progress.step >= step

        self.wait(there, seconds)

    def pods(self, role: str = "") -> list[str]:
        """Names of its Pods, of one role or all, that were not asked to go."""
        selector = f"{names.EXPERIMENT}={self.name}" + (f",{names.ROLE}={role}" if role else "")
        found = self._kubectl.get("pods", "-n", self.namespace, "-l", selector)["items"]
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def store(self) -> Store:
        uid = self._kubectl.get("limr", self.name, "-n", self.namespace)["metadata"]["uid"]
        return open_store(f"{STORAGE['uri']}/{self.namespace}/{self.name}-{uid[:8]}", f"http://{S3_ADDRESS}")

    def manifest(self, stage: str) -> Manifest:
        return read_manifest(self.store(), stage)

    def rows(self, stage: str) -> pa.Table:
        return trajectory_rows(self.store(), stage)

    def delete(self) -> None:
        """Returns when nothing of it is left."""
        self._kubectl("delete", "limr", self.name, "-n", self.namespace, seconds=120)
        selector = f"{names.OURS},{names.EXPERIMENT}={self.name}"
        command = ("get", KINDS, "-n", self.namespace, "-l", selector, "-o", "name")
        wait_until(lambda: not self._kubectl(*command), f"the end of {self.name}'s objects", DELETE_SECONDS, poll=1)
