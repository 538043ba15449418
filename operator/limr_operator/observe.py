"""What was seen of an experiment's children, in the planner's words. Pure.

The stage's own word, in its ConfigMap, is believed before KubeRay's: a RayJob says Running after its head has died, and
has been seen to report success after one ran out of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from limr.config_map import POD, PROGRESS, RESULT
from limr.log_lines import tail
from limr.plan import ACTIVE, Child, Died, Finished, Observation, Running, Status, Waiting
from limr.stage import Progress, StageResult
from limr_operator import diagnose
from limr_operator.snapshot import ChildObjects

# A child that is being removed counts as gone after this long, though a lost node keeps its Pods for ever: the store
# lets nobody of an earlier attempt write.
REMOVAL_SECONDS = 300
ENDED = frozenset({"Complete", "Failed"})
# What has handed back its result and does not end by itself is removed then.
EXIT_SECONDS = 60
# What Ray's message on a failed job has between the exit status and the end of the job's log.
RAYS_LAST_LINES = ", last available logs"
RESTARTED = diagnose.Finding("HeadLost", "the container with its driver was restarted")


def observations(children: Mapping[Child, ChildObjects], now: datetime) -> dict[Child, Observation]:
    seen = {child: observation(objects, now) for child, objects in children.items()}
    return {child: what for child, what in seen.items() if what is not None}


def observation(objects: ChildObjects, now: datetime) -> Observation | None:
    """None when nothing runs the attempt: it was never made, or has been removed."""
    data = objects.config_map["data"] if objects.config_map else {}
    if RESULT in data:
        return _said(data)
    if objects.runner is None or is_gone(objects.runner, now):
        return None
    return _of_ray_job(objects, data) if objects.runner["kind"] == "RayJob" else _of_job(objects, data)


def leftovers(children: Mapping[Child, ChildObjects], status: Status, now: datetime) -> list[Child]:
    """Attempts that are over, by their own word or ours, and still hold machines: their head was lost, or they hang."""
    return [
        child
        for child, objects in children.items()
        if objects.runner is not None and not has_ended(objects.runner) and _is_over(child, objects, status, now)
    ]


def _is_over(child: Child, objects: ChildObjects, status: Status, now: datetime) -> bool:
    stage = status.stages.get(child.stage)
    if stage is None or child.attempt < stage.attempt:
        return True
    if stage.state in ACTIVE or stage.finished_at is None:
        return False
    if objects.shared_name and not _has_result(objects):
        return True  # KubeRay would begin it once more in the head that takes the place of the lost one
    return now - stage.finished_at > timedelta(seconds=EXIT_SECONDS)


def _has_result(objects: ChildObjects) -> bool:
    return objects.config_map is not None and RESULT in objects.config_map["data"]


def has_ended(runner: Mapping[str, Any]) -> bool:
    """By the word of what controls it: its process is gone."""
    status = runner["status"]
    if runner["kind"] == "RayJob":
        return status.get("jobDeploymentStatus") in ENDED
    return any(
        condition["type"] in ENDED and condition["status"] == "True" for condition in status.get("conditions", ())
    )


def _said(data: Mapping[str, str]) -> Observation:
    """Its result if there is one, with its last progress; else its progress."""
    try:
        progress = Progress.model_validate_json(data[PROGRESS]) if PROGRESS in data else None
        if RESULT not in data:
            return Running(progress)
        return Finished(StageResult.model_validate_json(data[RESULT]), progress)
    except ValidationError as error:
        words = error.errors()[0]["msg"]
        return Died("Unreadable", f"what it says cannot be read ({words}); use a trainer image of this version")


def _of_ray_job(objects: ChildObjects, data: Mapping[str, str]) -> Observation:
    assert objects.runner is not None
    status = objects.runner["status"]
    deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    if deployment == "ValidationFailed":
        return Died("Refused", f"KubeRay refuses the RayJob: {_words(status)}; correct spec.cluster")
    if has_ended(objects.runner) or job in ("SUCCEEDED", "FAILED", "STOPPED"):
        words, _, log = str(status.get("message") or status.get("reason") or "").partition("\n")
        return _ended(objects, words.partition(RAYS_LAST_LINES)[0], log)
    if objects.shared_name and not objects.removing and (objects.shared is None or objects.shared.removing):
        return Died("ClusterLost", f"RayCluster {objects.shared_name} was removed by someone else", charged=False)
    if deployment == "Running" and job in ("RUNNING", "") and PROGRESS in data:
        return _at_work(objects, data)
    return _waiting(objects, _ray_waiting(objects))


def _of_job(objects: ChildObjects, data: Mapping[str, str]) -> Observation:
    assert objects.runner is not None
    status = objects.runner["status"]
    if has_ended(objects.runner):
        return _ended(objects, " ".join(condition.get("message", "") for condition in status["conditions"]).strip())
    if PROGRESS in data:
        return _at_work(objects, data)
    return _waiting(objects, Waiting("PodStarting", "its Pod is being started"))


def _at_work(objects: ChildObjects, data: Mapping[str, str]) -> Observation:
    if not objects.removing:
        driver = next((pod for pod in objects.pods if _alive(pod) and pod["metadata"]["name"] == data.get(POD)), None)
        if driver is None:
            return Died("HeadLost", "the Pod with its driver is gone", charged=False)
        if diagnose.restarted(driver, objects.since):
            found = diagnose.casualty([driver], objects.since) or RESTARTED
            return Died(*found, last_lines=tail(diagnose.last_words([driver], objects.since)))
    return _said(data)


def _ended(objects: ChildObjects, words: str, log: str = "") -> Observation:
    """`words` of what controls it, and the end of its log, where that is among them."""
    found = diagnose.casualty(objects.pods, objects.since)
    last_lines = tail(log or diagnose.last_words(objects.pods, objects.since))
    if found:
        return Died(found.reason, found.message, found.reason != "Evicted", last_lines)
    return Died("NoResult", f"it ended without a result{': ' if words else ''}{words}", last_lines=last_lines)


def _waiting(objects: ChildObjects, otherwise: Waiting) -> Observation:
    assert objects.runner is not None
    found = diagnose.obstacle(objects.pods) or _refused(objects)
    if found:
        return Waiting(found.reason, found.message)
    if objects.runner.get("suspended") or (objects.shared and objects.shared.body["suspended"]):
        return Waiting("QueuePending", "Kueue has not admitted it yet; see `kubectl get workloads` for its place")
    return otherwise


def _ray_waiting(objects: ChildObjects) -> Waiting:
    if objects.shared is None:
        return Waiting("RayClusterStarting", "its RayCluster is being started")
    name, status = objects.shared.name, objects.shared.body["status"]
    headless = any(
        condition["type"] == "HeadPodReady" and condition["status"] != "True"
        for condition in status.get("conditions", ())
    )
    if status.get("state") != "ready" or headless:
        return Waiting("RayClusterStarting", f"RayCluster {name} is being started")
    return Waiting("DriverStarting", f"its driver is being started in RayCluster {name}")


def _refused(objects: ChildObjects) -> diagnose.Finding | None:
    """What keeps KubeRay from making Pods at all, such as a quota."""
    assert objects.runner is not None
    status = objects.shared.body["status"] if objects.shared else objects.runner["status"].get("rayClusterStatus", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            words = condition.get("message", "")
            quota = "exceeded quota" in words
            remedy = "raise the namespace's quota or ask for less in spec.cluster" if quota else "mend what it names"
            return diagnose.Finding("QuotaExceeded" if quota else "PodsRefused", f"{words}; {remedy}")
    return None


def _alive(pod: Mapping[str, Any]) -> bool:
    return pod["status"].get("phase") in ("Running", "Pending", None)


def is_gone(thing: Mapping[str, Any], now: datetime) -> bool:
    """Whether it is on its way out for so long that it is not waited for any more."""
    since = thing["metadata"].get("deletionTimestamp")
    return since is not None and now - datetime.fromisoformat(since) > timedelta(seconds=REMOVAL_SECONDS)


def _words(status: Mapping[str, Any]) -> str:
    return " ".join(str(status.get("message") or status.get("reason") or "").split())
