"""Stages that share a RayCluster (schedule.reuseCluster), on a real API server with KubeRay played by the test."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.daemons import wait_until
from fake_kuberay import Script, succeed
from operator_cuts import run_cut
from operator_lab import STAGES, Lab, condition

from limr.plan import Phase, StageState, Status
from limr.stage import StageInput, StageResult
from limr_operator import names
from limr_operator.api import KINDS, ApiError, NotFound
from limr_operator.diagnose import Pod

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ENGINES = ("probe", "train-lim-s1")
ACCESS = ("ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")


def expected_objects(attempts: dict[str, int]) -> set[str]:
    """At the end: the cluster is gone."""
    found = {f"{kind} demo--cluster" for kind in ACCESS}
    for stage, last in attempts.items():
        if stage not in ENGINES:
            found |= {f"{kind} demo--{stage}" for kind in ACCESS}
        runner = "RayJob" if stage in ENGINES else "Job"
        for attempt in range(1, last + 1):
            found |= {f"ConfigMap demo--{stage}-{attempt}", f"{runner} demo--{stage}-{attempt}"}
    return found


class SharedLab(Lab):
    """Remembers every RayCluster there was, and checks that there is never a second one, nor two at work in it."""

    def __init__(self, plane: ControlPlane, namespace: str, script: Script = succeed) -> None:
        super().__init__(plane, namespace, script)
        self.seen: dict[str, str] = {}  # by uid, the name

    def apply(self, **spec: Any) -> dict[str, Any]:
        return super().apply(**{**spec, "schedule": {"reuseCluster": True, **spec.get("schedule", {})}})

    def wait(self, seconds: int = 5) -> None:
        usable = [cluster for cluster in clusters(self) if "deletionTimestamp" not in cluster["metadata"]]
        assert len(usable) <= 1
        self.seen |= {cluster["metadata"]["uid"]: cluster["metadata"]["name"] for cluster in usable}
        assert len([job for job in self.api.list("RayJob", self.namespace) if is_at_work(job)]) <= 1
        super().wait(seconds)

    @property
    def names_seen(self) -> list[str]:
        return list(self.seen.values())


@pytest.fixture
def lab(plane: ControlPlane) -> SharedLab:
    return SharedLab(plane, f"test-{secrets.token_hex(4)}")


def is_at_work(ray_job: dict[str, Any]) -> bool:
    return ray_job.get("status", {}).get("jobDeploymentStatus") in ("Initializing", "Running")


def clusters(lab: Lab) -> list[dict[str, Any]]:
    return lab.api.list("RayCluster", lab.namespace)


def cluster_of(lab: Lab, attempt: str) -> str:
    selector = lab.api.get("RayJob", lab.namespace, f"demo--{attempt}")["spec"]["clusterSelector"]
    return str(selector[names.RAY_CLUSTER])


def head(lab: SharedLab) -> Pod:
    (pod,) = lab.api.list("Pod", lab.namespace, labelSelector=f"{names.ROLE}=driver,!{names.STAGE}")
    return pod


def is_running(stage: str, attempt: int = 1) -> Any:
    def check(status: Status) -> bool:
        found = status.stages[stage]
        return (found.state, found.attempt) == (StageState.RUNNING, attempt)

    return check


def wait_until_gone(lab: SharedLab) -> None:
    """The garbage collector takes a moment, and KubeRay its part."""

    def gone() -> bool:
        lab.wait()
        lab.look()
        return not clusters(lab) and not lab.api.list("Pod", lab.namespace)

    wait_until(gone, "the end of the RayCluster", 60, poll=0.2)


def test_a_whole_experiment_in_one_cluster(lab: SharedLab) -> None:
    lab.apply()
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert {stage.attempt for stage in status.stages.values()} == {1}
    assert lab.names_seen == ["demo--probe-1"]
    assert {cluster_of(lab, f"{stage}-1") for stage in ENGINES} == {"demo--probe-1"}
    wait_until_gone(lab)
    assert lab.objects() == expected_objects(dict.fromkeys(STAGES, 1))
    rules = lab.api.get("Role", lab.namespace, "demo--cluster")["rules"]
    assert rules[0]["resourceNames"] == ["demo--train-lim-s1-1"]


def test_a_suspension_gives_the_machines_back(lab: SharedLab) -> None:
    lab.apply()
    lab.run(lambda status: status.stages["probe"].progress is not None)
    lab.apply(schedule={"suspend": True})
    lab.run(lambda status: status.phase is Phase.SUSPENDED)
    wait_until_gone(lab)
    lab.apply(schedule={"suspend": False})
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert lab.names_seen == ["demo--probe-1", "demo--probe-2"]
    assert cluster_of(lab, "train-lim-s1-1") == "demo--probe-2"


def test_a_lost_head_costs_an_attempt_and_not_the_cluster(lab: SharedLab) -> None:
    lab.apply()
    lab.run(is_running("probe"))
    lost = head(lab)["metadata"]
    lab.api.delete("Pod", lab.namespace, lost["name"], lost["uid"])
    lab.look()
    stage = lab.status().stages["probe"]
    assert (stage.state, stage.reason, stage.charged_attempts) == (StageState.PENDING, "HeadLost", 0)
    lab.now += timedelta(minutes=1)  # the pause is over, but KubeRay has not stopped the Ray job yet
    lab.look()
    assert lab.status().stages["probe"].attempt == 1
    assert condition(lab.status(), "Progressing")[1:] == (
        "WaitingForCluster",
        "probe waits until RayJob demo--probe-1 has ended",
    )
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert status.stages["probe"].attempt == 2
    assert lab.names_seen == ["demo--probe-1"]
    with pytest.raises(NotFound):
        lab.api.get("RayJob", lab.namespace, "demo--probe-1")


def test_what_was_silent_takes_its_cluster_with_it(plane: ControlPlane) -> None:
    def script(stage_input: StageInput, step: int) -> StageResult | None:
        return None if stage_input.attempt == 1 else succeed(stage_input, step)

    lab = SharedLab(plane, f"test-{secrets.token_hex(4)}", script)
    lab.apply(arms=[{"name": "full", "reuseProbe": True}], limits={"activeDeadlineSeconds": 30})
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert (status.stages["probe"].attempt, status.stages["probe"].charged_attempts) == (2, 1)
    assert lab.names_seen == ["demo--probe-1", "demo--probe-2"]


def test_another_spec_is_another_cluster_from_the_next_attempt_on(lab: SharedLab) -> None:
    lab.apply()
    lab.run(is_running("probe"))
    lab.apply(cluster={"image": "limr.test/trainer:2"})
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert {stage.attempt for stage in status.stages.values()} == {1}
    assert lab.names_seen == ["demo--probe-1", "demo--train-lim-s1-1"]


def test_a_stage_does_not_begin_among_pods_that_go(lab: SharedLab) -> None:
    lab.apply()
    lab.run(lambda status: status.stages["probe"].state is StageState.SUCCEEDED)
    (worker,) = lab.api.list("Pod", lab.namespace, labelSelector=f"{names.ROLE}=learner")
    name = worker["metadata"]["name"]
    path = KINDS["Pod"].path(lab.namespace, name)
    held = {"metadata": {"finalizers": ["limr.test/lost-node"]}}
    lab.api._request("PATCH", path, held, "application/merge-patch+json")
    lab.api.delete("Pod", lab.namespace, name, worker["metadata"]["uid"])
    status = lab.run(lambda status: status.stages["select-lim"].state is StageState.SUCCEEDED)
    for _ in range(5):
        lab.wait()
        lab.look()
    status = lab.status()
    assert status.stages["train-lim-s1"].attempt == 0
    assert condition(status, "Progressing")[2] == f"train-lim-s1 waits until Pod {name} is removed"
    # Its node never comes back: the whole cluster is left to it, and another one made.
    lab.now += timedelta(hours=1)
    status = lab.run(is_running("train-lim-s1"))
    assert cluster_of(lab, "train-lim-s1-1") == "demo--train-lim-s1-1"
    lab.api._request("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    assert lab.run().phase is Phase.COMPLETE


def test_a_cluster_that_somebody_removes_is_made_anew(lab: SharedLab) -> None:
    lab.apply()
    lab.run(is_running("probe"))
    (cluster,) = clusters(lab)
    lab.api.delete("RayCluster", lab.namespace, "demo--probe-1", cluster["metadata"]["uid"])
    lab.look()
    stage = lab.status().stages["probe"]
    assert (stage.state, stage.reason, stage.charged_attempts) == (StageState.PENDING, "ClusterLost", 0)
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert lab.names_seen == ["demo--probe-1", "demo--probe-2"]


def test_nothing_is_left_of_a_deleted_experiment(lab: SharedLab) -> None:
    lab.apply()
    lab.run(is_running("train-lim-s1"))
    uid = lab.api.get(names.KIND, lab.namespace, "demo")["metadata"]["uid"]
    lab.api.delete(names.KIND, lab.namespace, "demo", uid)

    def gone() -> bool:
        lab.wait()
        return not lab.objects()

    wait_until(gone, "the end of all that it owned", 60, poll=0.2)


def test_two_stages_at_once_are_refused_at_apply(lab: SharedLab) -> None:
    with pytest.raises(ApiError, match="reuseCluster runs one stage at a time"):
        lab.apply(schedule={"parallelStages": 2})


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_cut_off_at_calls_that_stages_with_clusters_of_their_own_do_not_make(times: int, plane: ControlPlane) -> None:
    """At the first of each; or twice, where the cluster is made and where it is there."""
    expected, calls = run_cut(SharedLab(plane, f"shared-whole-{times}"), at=0, after=False)
    assert expected["phase"] is Phase.COMPLETE
    ours = re.compile("/(rayclusters|rayjobs|pods|serviceaccounts|roles|rolebindings|networkpolicies)\\b")
    cuts = [(at, call) for at, call in enumerate(calls, 1) if ours.search(call) and calls[: at - 1].count(call) < times]
    assert len(cuts) > 6 * times
    for at, call in cuts:
        for after in (False,) if call.startswith("GET") else (False, True):
            lab = SharedLab(plane, f"shared-{at}-{'after' if after else 'before'}-{times}")
            assert run_cut(lab, at, after)[0] == expected, (at, after)
            wait_until_gone(lab)
            assert lab.names_seen == ["demo--probe-1"], (at, after)
            assert lab.objects() == expected_objects(dict.fromkeys(STAGES, 1)), (at, after)
