"""What is seen of children, and what is said of Pods that do not run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from limr.config_map import POD, PROGRESS, RESULT
from limr.plan import Child, Died, Finished, Running, StageState, StageStatus, Status, Waiting
from limr.stage import Outcome, Progress, StageKind, StageResult
from limr_operator import names
from limr_operator.observe import leftovers, observation
from limr_operator.snapshot import ChildObjects, Snapshot, trimmed

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAID = Progress(updated_at=1.0, step=3, steps=9)
RESULT_TEXT = StageResult(outcome=Outcome.SUCCEEDED, reason="Completed", message="").to_json()


def ray_job(deployment: str = "Running", job: str = "RUNNING", **more: Any) -> dict[str, Any]:
    status = {"jobDeploymentStatus": deployment, "jobStatus": job, **more.pop("status", {})}
    return {"kind": "RayJob", "metadata": {"name": "demo--probe-1", **more}, "status": status}


def pod(name: str = "head", **status: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name, "labels": {}}, "status": {"phase": "Running", **status}}


def channel(**data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "demo--probe-1"}, "data": {"input": "{}", **data}}


RESULT_SAID = StageResult.model_validate_json(RESULT_TEXT)
STARTING = Waiting("RayClusterStarting", "its RayCluster is being started")
AT_WORK = channel(**{POD: "head", PROGRESS: SAID.to_json()})
WAITS = pod(
    phase="Pending",
    containerStatuses=[{"image": "x:1", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "denied"}}}],
)
NO_NODE = pod(
    phase="Pending",
    conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient gpu."}],
)
NO_SECRET = pod(
    phase="Pending",
    containerStatuses=[
        {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'}}}
    ],
)
RESTARTED = pod(containerStatuses=[{"restartCount": 1, "lastState": {"terminated": {"reason": "OOMKilled"}}}])
BEGINS = ray_job("Initializing", "")
QUOTA = {
    "rayClusterStatus": {
        "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "pods forbidden: exceeded quota: q"}]
    }
}


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (ChildObjects(), None),
        (ChildObjects(config_map=AT_WORK), None),
        (ChildObjects(ray_job("", ""), channel()), STARTING),
        (ChildObjects(ray_job("Initializing", ""), AT_WORK), STARTING),
        (ChildObjects(ray_job(), AT_WORK, [pod()]), Running(SAID)),
        (
            ChildObjects(ray_job(), AT_WORK, [pod("another")]),
            Died("HeadLost", "the Pod with its driver is gone", charged=False),
        ),
        (ChildObjects(ray_job(), channel(**{RESULT: RESULT_TEXT})), Finished(RESULT_SAID)),
        (ChildObjects(None, channel(**{RESULT: RESULT_TEXT})), Finished(RESULT_SAID)),
        (
            ChildObjects(ray_job(), channel(**{PROGRESS: SAID.to_json(), RESULT: RESULT_TEXT})),
            Finished(RESULT_SAID, SAID),
        ),
        (
            ChildObjects(ray_job("Complete", "SUCCEEDED"), AT_WORK, [pod()]),
            Died("NoResult", "it ended without a result"),
        ),
        (
            ChildObjects(ray_job("Failed", "FAILED", status={"message": "exit 1"}), AT_WORK),
            Died("NoResult", "it ended without a result: exit 1"),
        ),
    ],
)
def test_observation(objects: ChildObjects, expected: object) -> None:
    assert observation(objects, NOW) == expected


@pytest.mark.parametrize(
    ("objects", "reason", "sentence"),
    [
        (ChildObjects(BEGINS, channel(), [WAITS]), "ImageUnavailable", "correct spec.cluster.image"),
        (ChildObjects(BEGINS, channel(), [NO_NODE]), "Unschedulable", "3 Insufficient gpu; check gpus"),
        (ChildObjects(BEGINS, channel(), [NO_SECRET]), "SecretMissing", "create the Secret with AWS"),
        (
            ChildObjects(ray_job("Initializing", "", status=QUOTA), channel()),
            "QuotaExceeded",
            "raise the namespace's quota",
        ),
        (ChildObjects(ray_job() | {"suspended": True}, channel()), "QueuePending", "kubectl get workloads"),
        (ChildObjects(ray_job(), AT_WORK, [RESTARTED]), "OutOfMemory", "raise memoryGib"),
        (ChildObjects(ray_job("ValidationFailed", ""), channel()), "Refused", "correct spec.cluster"),
        (ChildObjects(ray_job(), channel(**{RESULT: "{}"})), "Unreadable", "use a trainer image of this version"),
        (
            ChildObjects(ray_job(), channel(**{POD: "head", PROGRESS: '{"updatedAt": 1, "mood": 2}'}), [pod()]),
            "Unreadable",
            "use a trainer image of this version",
        ),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(objects: ChildObjects, reason: str, sentence: str) -> None:
    seen = observation(objects, NOW)
    assert isinstance(seen, Waiting | Died)
    assert seen.reason == reason
    assert sentence in seen.message


def test_a_child_that_cannot_be_removed_counts_as_gone_after_a_while() -> None:
    since = (NOW - timedelta(seconds=200)).isoformat().replace("+00:00", "Z")
    removed = ray_job(deletionTimestamp=since)
    assert observation(ChildObjects(removed, AT_WORK), NOW) == Running(SAID)
    assert observation(ChildObjects(removed, AT_WORK), NOW + timedelta(seconds=200)) is None


def test_what_holds_machines_after_its_end_is_found() -> None:
    stage = StageStatus(kind=StageKind.PROBE, state=StageState.SUCCEEDED, attempt=2, finished_at=NOW)
    status = Status(stages={"probe": stage})
    children = {Child("probe", 1): ChildObjects(ray_job()), Child("probe", 2): ChildObjects(ray_job())}
    assert leftovers(children, status, NOW) == [Child("probe", 1)]
    assert leftovers(children, status, NOW + timedelta(minutes=5)) == [Child("probe", 1), Child("probe", 2)]
    ended = {Child("probe", 1): ChildObjects(ray_job("Failed", "FAILED"))}
    assert leftovers(ended, status, NOW + timedelta(minutes=5)) == []


def test_objects_of_an_experiment_that_had_the_name_before_are_left_out() -> None:
    labels = {names.STAGE: "probe", names.ATTEMPT: "1", names.EXPERIMENT: "demo"}
    bodies = [
        {
            "metadata": {"name": "demo--probe-1", "labels": labels, "ownerReferences": [{"uid": uid}]},
            "data": {"of": uid},
        }
        for uid in ("before", "now")
    ]
    experiment = {"metadata": {"uid": "now"}}
    snapshot = Snapshot(experiment, [trimmed("ConfigMap", body) for body in bodies])
    assert snapshot.children()[Child("probe", 1)].config_map["data"] == {"of": "now"}  # type: ignore[index]
