"""Plays the parts of KubeRay, of the Job controller, of the kubelet and of the stages, one move at a time.

For tests of the operator on an API server with nothing behind it. All it knows is in the objects, so it can be stopped
and begun anew, and a test may lie in its place by writing another status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from limr.config_map import INPUT, POD, PROGRESS, RESULT, STOP
from limr.stage import (
    ArmResult,
    Interval,
    Ledger,
    Outcome,
    Output,
    Progress,
    Selected,
    StageInput,
    StageKind,
    StageResult,
)
from limr_operator import names
from limr_operator.api import KINDS, Api, NotFound

Object = dict[str, Any]
Script = Callable[[StageInput, int], StageResult | None]

STEPS = 2
STOPS_JOB = "ray.io/rayjob-finalizer"  # a RayJob stays until KubeRay has stopped its Ray job
GROUP = "ray.io/group"


def succeed(stage_input: StageInput, step: int) -> StageResult | None:
    """What a stage says after its `step`-th move: nothing, then its result."""
    return result_of(stage_input) if step >= STEPS else None


def result_of(stage_input: StageInput) -> StageResult:
    stage = stage_input.stage
    where = f"{stage_input.root}/{stage.name}"
    outputs = {"made": Output(uri=where, digest="sha256:" + "0" * 64)}
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        reason="Completed",
        message="",
        outputs=outputs,
        ledger=Ledger(rollouts=10, device_seconds=36.0),
        selected=Selected(prompts=3, of=8) if stage.kind is StageKind.SELECTION else None,
        results=_results() if stage.kind is StageKind.REPORT else (),
    )


def _results() -> tuple[ArmResult, ...]:
    score = Interval(mean=0.5, low=0.4, high=0.6)
    return (ArmResult(name="lim", prompts=3, benchmarks={"sums": score}, device_hours=0.01),)


class FakeKubeRay:
    def __init__(self, api: Api, namespace: str, script: Script = succeed) -> None:
        self._api = api
        self._namespace = namespace
        self._script = script

    def move(self) -> None:
        """Brings every RayCluster, RayJob and Job one state further."""
        for kind, move in (("RayCluster", self._move_cluster), ("RayJob", self._move), ("Job", self._move)):
            for thing in self._api.list(kind, self._namespace, labelSelector=names.OURS):
                with suppress(NotFound):  # removed meanwhile
                    if "deletionTimestamp" not in thing["metadata"]:
                        move({**thing, "kind": kind})
                    elif STOPS_JOB in thing["metadata"].get("finalizers", ()):
                        left = [name for name in thing["metadata"]["finalizers"] if name != STOPS_JOB]
                        self._merge(kind, thing, {"metadata": {"finalizers": left}})

    def _move_cluster(self, cluster: Object) -> None:
        """Makes the Pods that are missing, a new head too; with all of them there it is ready, and stays so."""
        spec = cluster["spec"]
        groups = {"head": (1, spec["headGroupSpec"]["template"])}
        groups |= {group["groupName"]: (group["replicas"], group["template"]) for group in spec["workerGroupSpecs"]}
        complete = True
        for group, (replicas, template) in groups.items():
            for _ in range(replicas - len(self._pods_of(cluster, group))):
                complete = False
                name = {"generateName": f"{cluster['metadata']['name']}-{group}-"}
                labels = {names.RAY_CLUSTER: cluster["metadata"]["name"], GROUP: group}
                self._create_pod(cluster, name, template, labels)
        if complete:
            self._set(cluster, {"state": "ready"})

    def _pods_of(self, cluster: Object, group: str) -> list[Object]:
        selector = f"{names.RAY_CLUSTER}={cluster['metadata']['name']},{GROUP}={group}"
        return self._api.list("Pod", self._namespace, labelSelector=selector)

    def _move(self, runner: Object) -> None:
        if _ended(runner):
            return
        if runner["spec"].get("suspend"):
            return
        if _selected(runner) and not self._is_ready_for(runner):
            return
        driver = self._driver(runner)
        if driver is None:
            self._start_driver(runner)
            self._set(runner, _running(runner["kind"]))
            return
        try:
            channel = self._api.get("ConfigMap", self._namespace, runner["metadata"]["name"])
        except NotFound:
            return
        if RESULT not in channel["data"]:
            self._work(channel, driver)
            return
        result = StageResult.model_validate_json(channel["data"][RESULT])
        self._set(runner, _finished(runner["kind"], result.outcome is not Outcome.FAILED))
        if not _selected(runner):
            self._api.delete("Pod", self._namespace, driver["metadata"]["name"], driver["metadata"]["uid"])

    def _is_ready_for(self, ray_job: Object) -> bool:
        """Whether a RayJob that selects its cluster has been submitted there; begins it where it has not."""
        if STOPS_JOB not in ray_job["metadata"].get("finalizers", ()):
            self._merge("RayJob", ray_job, {"metadata": {"finalizers": [STOPS_JOB]}})
            self._set(ray_job, {"jobDeploymentStatus": "Initializing"})
            return False
        try:
            cluster = self._api.get("RayCluster", self._namespace, _selected(ray_job))
        except NotFound:
            return False
        if cluster.get("status", {}).get("state") != "ready" or not self._pods_of(cluster, "head"):
            return False
        if ray_job.get("status", {}).get("jobDeploymentStatus") == "Running":
            return True
        self._set(ray_job, _running("RayJob"))
        return False

    def _work(self, channel: Object, driver: Object) -> None:
        stage_input = StageInput.model_validate_json(channel["data"][INPUT])
        said = channel["data"].get(PROGRESS)
        step = Progress.model_validate_json(said).step + 1 if said else 0
        result = self._script(stage_input, step)
        if result is None and channel["data"].get(STOP):
            message = f"stopped after step {step}"
            result = StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message=message)
        progress = Progress(updated_at=time.time(), step=step, steps=STEPS, checkpoint_step=step)
        data = {POD: driver["metadata"]["name"], PROGRESS: progress.to_json()}
        self._merge("ConfigMap", channel, {"data": data | ({RESULT: result.to_json()} if result else {})})

    def _driver(self, runner: Object) -> Object | None:
        if _selected(runner):
            return self._pods_of({"metadata": {"name": _selected(runner)}}, "head")[0]
        try:
            return self._api.get("Pod", self._namespace, f"{runner['metadata']['name']}-driver")
        except NotFound:
            return None

    def _start_driver(self, runner: Object) -> None:
        self._create_pod(runner, {"name": f"{runner['metadata']['name']}-driver"}, _driver_template(runner), {})

    def _create_pod(self, owner: Object, name: Object, template: Object, labels: Object) -> None:
        metadata = owner["metadata"]
        reference = {"apiVersion": _api_version(owner["kind"]), "kind": owner["kind"], "blockOwnerDeletion": True}
        reference |= {"name": metadata["name"], "uid": metadata["uid"]}
        self._api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    **name,
                    "namespace": self._namespace,
                    "labels": {**template["metadata"]["labels"], **labels},
                    "ownerReferences": [reference],
                },
                "spec": {"containers": [{"name": "limr", "image": template["spec"]["containers"][0]["image"]}]},
            }
        )

    def set_pod(self, name: str, status: Mapping[str, Any]) -> None:
        self._merge("Pod", {"metadata": {"name": name}}, {"status": dict(status)}, "/status")

    def set_status(self, kind: str, name: str, status: Mapping[str, Any]) -> None:
        self._set({"kind": kind, "metadata": {"name": name}}, status)

    def _set(self, runner: Object, status: Mapping[str, Any]) -> None:
        self._merge(runner["kind"], runner, {"status": dict(status)}, "/status")

    def _merge(self, kind: str, thing: Object, patch: Object, subresource: str = "") -> None:
        path = KINDS[kind].path(self._namespace, thing["metadata"]["name"]) + subresource
        self._api._request("PATCH", path, patch, "application/merge-patch+json")


def _selected(runner: Object) -> str:
    """The RayCluster to which a RayJob only submits; "" for one that has its own, and for Jobs."""
    return str((runner["spec"].get("clusterSelector") or {}).get(names.RAY_CLUSTER, ""))


def _api_version(kind: str) -> str:
    return f"{KINDS[kind].group}/{KINDS[kind].version}"


def _driver_template(runner: Object) -> Object:
    spec = runner["spec"]
    template: Object = (
        spec["rayClusterSpec"]["headGroupSpec"]["template"] if runner["kind"] == "RayJob" else spec["template"]
    )
    return template


def _ended(runner: Object) -> bool:
    status = runner.get("status", {})
    if runner["kind"] == "RayJob":
        return status.get("jobDeploymentStatus") in ("Complete", "Failed", "ValidationFailed")
    return any(condition["type"] in ("Complete", "Failed") for condition in status.get("conditions", ()))


def _running(kind: str) -> Object:
    if kind == "RayJob":
        return {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    return {"active": 1, "startTime": _now()}


def _finished(kind: str, well: bool) -> Object:
    if kind == "RayJob":
        return {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"} if well else _failed_ray_job()
    first, second = ("SuccessCriteriaMet", "Complete") if well else ("FailureTarget", "Failed")
    conditions = [{"type": name, "status": "True", "lastTransitionTime": _now()} for name in (first, second)]
    counts = {"succeeded": 1, "completionTime": _now()} if well else {"failed": 1}
    return {"active": 0, "conditions": conditions, **counts}


def _failed_ray_job() -> Object:
    return {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "exit status 1"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
