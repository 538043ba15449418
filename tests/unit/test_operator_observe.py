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
from limr_operator.snapshot import ChildObjects, SharedCluster, Snapshot, trimmed

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
CUT = 'er": "limr.train", "message": "cut", "attempt": 1}'
LOGGED = '{"time": "2026-01-01T11:00:00+00:00", "level": "ERROR", "logger": "limr.train", "message": "engine 0 died"}'
PRINTED = LOGGED.replace("limr.train", "output").replace("engine 0 died", "killed: 9")
RAYS_WORDS = "Job entrypoint command failed with exit code 137"
RAYS_MESSAGE = (
    f"{RAYS_WORDS}, last available logs (truncated to 20,000 chars):\n{CUT}\nRunning entrypoint\n{LOGGED}\n{PRINTED}\n"
)
LINES = ("ERROR engine 0 died", "killed: 9")


def ended_driver(message: str, reason: str = "Error", **more: Any) -> dict[str, Any]:
    ended = {"terminated": {"reason": reason, "exitCode": 137, "message": message}}
    driver = pod(containerStatuses=[{"state": ended, **more}])
    driver["metadata"]["labels"] = {names.ROLE: "driver"}
    return driver


FAILED_JOB = {
    "kind": "Job",
    "metadata": {"name": "demo--report-1"},
    "status": {"conditions": [{"type": "Failed", "status": "True", "message": "Job has reached the backoff limit"}]},
}
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
        (ChildObjects(BEGINS, channel(), [NO_SECRET]), "SecretMissing", "create the Secret, with AWS"),
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


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (
            ChildObjects(ray_job("Failed", "FAILED", status={"message": RAYS_MESSAGE})),
            Died("NoResult", f"it ended without a result: {RAYS_WORDS}", last_lines=LINES),
        ),
        (
            ChildObjects(ray_job("Failed", "FAILED", status={"message": "Traceback:\n  File …\nKeyError: 1"})),
            Died("NoResult", "it ended without a result: Traceback:", last_lines=("  File …", "KeyError: 1")),
        ),
        (
            ChildObjects(FAILED_JOB, pods=[ended_driver(f"{CUT}\n{LOGGED}\n")]),
            Died("NoResult", "it ended without a result: Job has reached the backoff limit", last_lines=LINES[:1]),
        ),
        (
            ChildObjects(
                ray_job(),
                AT_WORK,
                [ended_driver(LOGGED, restartCount=1)],
            ),
            Died("HeadLost", "the container with its driver was restarted", last_lines=LINES[:1]),
        ),
    ],
    ids=["killed", "Ray's own", "job", "restarted"],
)
def test_what_is_known_of_the_log_of_what_died(objects: ChildObjects, expected: Died) -> None:
    assert observation(objects, NOW) == expected


def test_the_last_lines_of_what_ran_out_of_memory() -> None:
    died = observation(ChildObjects(FAILED_JOB, pods=[ended_driver(LOGGED, "OOMKilled")]), NOW)
    assert isinstance(died, Died)
    assert (died.reason, died.last_lines) == ("OutOfMemory", LINES[:1])


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


def ray_cluster(state: str = "ready", name: str = "demo--probe-1", suspended: bool = False, **more: Any) -> Any:
    metadata = {"name": name, "uid": f"uid of {name}", **more.pop("metadata", {})}
    return {"kind": "RayCluster", "metadata": metadata, "status": {"state": state, **more}, "suspended": suspended}


def sharing(cluster: Any | None, *pods: Any, config_map: Any = AT_WORK, **job: Any) -> ChildObjects:
    """An attempt that began at NOW in a cluster that is older."""
    made = ray_job(**{"creationTimestamp": NOW.isoformat(), **job}) | {"cluster": "demo--probe-1"}
    shared = SharedCluster(cluster, pods) if cluster else None
    return ChildObjects(made, config_map, list(pods), shared)


def restarted_at(seconds: float) -> dict[str, Any]:
    when = (NOW + timedelta(seconds=seconds)).isoformat()
    container = {
        "restartCount": 1,
        "state": {"running": {"startedAt": when}},
        "lastState": {"terminated": {"reason": "OOMKilled", "finishedAt": when}},
    }
    return pod(containerStatuses=[container])


LOST = Died("ClusterLost", "RayCluster demo--probe-1 was removed by someone else", charged=False)


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (sharing(ray_cluster(), pod()), Running(SAID)),
        (
            sharing(ray_cluster(), pod("another")),
            Died("HeadLost", "the Pod with its driver is gone", charged=False),
        ),
        (sharing(None), LOST),
        (sharing(ray_cluster(metadata={"deletionTimestamp": "2026-01-01T12:00:00Z"}), pod()), LOST),
        (sharing(None, deletionTimestamp=NOW.isoformat()), Running(SAID)),
        (sharing(None, deployment="Complete", job="SUCCEEDED"), Died("NoResult", "it ended without a result")),
        (
            sharing(ray_cluster(""), pod(), config_map=channel(), deployment="Initializing", job=""),
            Waiting("RayClusterStarting", "RayCluster demo--probe-1 is being started"),
        ),
        (
            sharing(ray_cluster(conditions=[{"type": "HeadPodReady", "status": "False"}]), config_map=channel()),
            Waiting("RayClusterStarting", "RayCluster demo--probe-1 is being started"),
        ),
        (
            sharing(ray_cluster(), pod(), config_map=channel(), deployment="Running", job=""),
            Waiting("DriverStarting", "its driver is being started in RayCluster demo--probe-1"),
        ),
        (sharing(ray_cluster(), restarted_at(-60)), Running(SAID)),
        (
            sharing(ray_cluster(), restarted_at(-60), deployment="Failed", job="FAILED"),
            Died("NoResult", "it ended without a result"),
        ),
    ],
)
def test_an_attempt_in_a_shared_cluster(objects: ChildObjects, expected: object) -> None:
    assert observation(objects, NOW) == expected


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        (sharing(ray_cluster(), restarted_at(60)), "OutOfMemory"),
        (sharing(ray_cluster(), restarted_at(60), deployment="Failed", job="FAILED"), "OutOfMemory"),
        (sharing(ray_cluster("suspended", suspended=True), config_map=channel()), "QueuePending"),
        (sharing(ray_cluster(""), NO_NODE, config_map=channel()), "Unschedulable"),
        (sharing(ray_cluster("", **QUOTA["rayClusterStatus"]), config_map=channel()), "QuotaExceeded"),
    ],
)
def test_what_is_wrong_in_a_shared_cluster(objects: ChildObjects, reason: str) -> None:
    seen = observation(objects, NOW)
    assert isinstance(seen, Waiting | Died)
    assert seen.reason == reason


def test_what_died_leaves_a_shared_cluster_at_once() -> None:
    """KubeRay would submit it again to the next head."""
    stage = StageStatus(kind=StageKind.PROBE, state=StageState.PENDING, attempt=1, finished_at=NOW)
    status = Status(stages={"probe": stage})
    assert leftovers({Child("probe", 1): sharing(ray_cluster())}, status, NOW) == [Child("probe", 1)]
    said = sharing(ray_cluster(), config_map=channel(**{RESULT: RESULT_TEXT}))
    assert leftovers({Child("probe", 1): said}, status, NOW) == []


def test_pods_of_a_shared_cluster_are_those_that_it_owns() -> None:
    ours = {names.EXPERIMENT: "demo"}
    attempt_labels = {**ours, names.STAGE: "probe", names.ATTEMPT: "2"}
    by = {owner: [{"uid": owner}] for owner in ("now", "ray-job", "cluster", "earlier")}
    selector = {"clusterSelector": {names.RAY_CLUSTER: "demo--probe-1"}}
    bodies = [
        ("RayJob", {"name": "demo--probe-2", "labels": attempt_labels, "ownerReferences": by["now"]}, selector),
        ("RayCluster", {"name": "demo--probe-1", "uid": "cluster", "labels": ours, "ownerReferences": by["now"]}, {}),
        # KubeRay makes one for each RayJob with a cluster of its own, and copies the RayJob's labels.
        ("RayCluster", {"name": "x", "uid": "x", "labels": attempt_labels, "ownerReferences": by["ray-job"]}, {}),
        ("Pod", {"name": "head", "labels": ours, "ownerReferences": by["cluster"]}, {}),
        ("Pod", {"name": "old", "labels": ours, "ownerReferences": by["earlier"]}, {}),
    ]
    things = [trimmed(kind, {"metadata": metadata, "spec": spec}) for kind, metadata, spec in bodies]
    snapshot = Snapshot({"metadata": {"uid": "now"}}, things)
    (cluster,) = snapshot.shared_clusters()
    assert [pod["metadata"]["name"] for pod in cluster.pods] == ["head"]
    assert [pod["metadata"]["name"] for pod in snapshot.shared_pods()] == ["head", "old"]
    attempt = snapshot.children()[Child("probe", 2)]
    assert attempt.shared == cluster
    assert attempt.pods == list(cluster.pods)
