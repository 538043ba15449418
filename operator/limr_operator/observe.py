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


def observations(children: Mapping[Child, ChildObjects], now: datetime) -> dict[Child, Observation]:
    seen = {child: observation(objects, now) for child, objects in children.items()}
    return {child: what for child, what in seen.items() if what is not None}


def observation(objects: ChildObjects, now: datetime) -> Observation | None:
    """None when nothing runs the attempt: it was never made, or has been removed."""
    data = objects.config_map["data"] if objects.config_map else {}
    if RESULT in data:
        return _said(data)
    if objects.runner is None or _removed(objects.runner, now):
        return None
    return _of_ray_job(objects, data) if objects.runner["kind"] == "RayJob" else _of_job(objects, data)


def leftovers(children: Mapping[Child, ChildObjects], status: Status, now: datetime) -> list[Child]:
    """Attempts that are over, by their own word or ours, and still hold machines: their head was lost, or they hang."""
    return [
        child
        for child, objects in children.items()
        if objects.runner is not None and not _has_ended(objects.runner) and _is_over(child, status, now)
    ]


def _is_over(child: Child, status: Status, now: datetime) -> bool:
    stage = status.stages.get(child.stage)
    if stage is None or child.attempt < stage.attempt:
        return True
    grace = timedelta(seconds=EXIT_SECONDS)
    return stage.state not in ACTIVE and stage.finished_at is not None and now - stage.finished_at > grace


def _has_ended(runner: Mapping[str, Any]) -> bool:
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
    if _has_ended(objects.runner) or job in ("SUCCEEDED", "FAILED", "STOPPED"):
        return _ended(objects, _words(status))
    if deployment == "Running" and job in ("RUNNING", "") and PROGRESS in data:
        return _at_work(objects, data)
    return _waiting(objects, "RayCluster", status)


def _of_job(objects: ChildObjects, data: Mapping[str, str]) -> Observation:
    assert objects.runner is not None
    status = objects.runner["status"]
    if _has_ended(objects.runner):
        return _ended(objects, " ".join(condition.get("message", "") for condition in status["conditions"]).strip())
    if PROGRESS in data:
        return _at_work(objects, data)
    return _waiting(objects, "Pod", status)


def _at_work(objects: ChildObjects, data: Mapping[str, str]) -> Observation:
    if not objects.removing:
        driver = next((pod for pod in objects.pods if _alive(pod) and pod["metadata"]["name"] == data.get(POD)), None)
        if driver is None:
            return Died("HeadLost", "the Pod with its driver is gone", charged=False)
        if diagnose.restarted(driver):
            found = diagnose.casualty([driver])
            return Died(*found) if found else Died("HeadLost", "the container with its driver was restarted")
    return _said(data)


def _ended(objects: ChildObjects, words: str) -> Observation:
    found = diagnose.casualty(objects.pods)
    if found:
        return Died(found.reason, found.message, charged=found.reason != "Evicted")
    return Died("NoResult", f"it ended without a result{': ' if words else ''}{words}")


def _waiting(objects: ChildObjects, what: str, status: Mapping[str, Any]) -> Observation:
    assert objects.runner is not None
    found = diagnose.obstacle(objects.pods) or _refused(status)
    if found:
        return Waiting(found.reason, found.message)
    if objects.runner.get("suspended"):
        return Waiting("QueuePending", "Kueue has not admitted it yet; see `kubectl get workloads` for its place")
    return Waiting(f"{what}Starting", f"its {what} is being started")


def _refused(status: Mapping[str, Any]) -> diagnose.Finding | None:
    """What keeps KubeRay from making Pods at all, such as a quota."""
    conditions = status.get("rayClusterStatus", {}).get("conditions", ())
    for condition in conditions:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            words = condition.get("message", "")
            quota = "exceeded quota" in words
            remedy = "raise the namespace's quota or ask for less in spec.cluster" if quota else "mend what it names"
            return diagnose.Finding("QuotaExceeded" if quota else "PodsRefused", f"{words}; {remedy}")
    return None


def _alive(pod: Mapping[str, Any]) -> bool:
    return pod["status"].get("phase") in ("Running", "Pending", None)


def _removed(runner: Mapping[str, Any], now: datetime) -> bool:
    since = runner["metadata"].get("deletionTimestamp")
    return since is not None and now - datetime.fromisoformat(since) > timedelta(seconds=REMOVAL_SECONDS)


def _words(status: Mapping[str, Any]) -> str:
    return " ".join(str(status.get("message") or status.get("reason") or "").split())
