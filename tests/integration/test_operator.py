"""The operator's decisions on a real API server, with KubeRay and the stages played by a controller of the test."""

from __future__ import annotations

import json
import re
import secrets

import pytest
from cluster.control_plane import ControlPlane
from fake_kuberay import STEPS, succeed
from operator_cuts import Cut, CutApi, run_cut
from operator_lab import SETTINGS, STAGES, Lab, condition

from limr.plan import Phase, StageState, retry
from limr.stage import Outcome, StageInput, StageResult
from limr_operator import names
from limr_operator.api import Conflict, NotFound
from limr_operator.reconcile import reconcile

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def expected_objects(attempts: dict[str, int]) -> set[str]:
    found = set()
    for stage, last in attempts.items():
        found |= {f"{kind} demo--{stage}" for kind in ("ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")}
        runner = "RayJob" if stage.startswith(("probe", "train")) else "Job"
        for attempt in range(1, last + 1):
            found |= {f"ConfigMap demo--{stage}-{attempt}", f"{runner} demo--{stage}-{attempt}"}
    return found


def test_a_decision_about_an_experiment_that_is_gone_by_now_is_stale(lab: Lab) -> None:
    made = lab.apply()
    snapshot = lab.snapshot()
    assert snapshot is not None
    lab.api.delete(names.KIND, lab.namespace, lab.name, made["metadata"]["uid"])
    with pytest.raises(Conflict):
        reconcile(snapshot, lab.api, SETTINGS, lab.now)
    assert lab.look() is None


def test_a_whole_experiment(lab: Lab) -> None:
    lab.apply()
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert {name: stage.state for name, stage in status.stages.items()} == dict.fromkeys(STAGES, StageState.SUCCEEDED)
    assert status.results[0].name == "lim"
    assert status.best == "lim 50.0%"
    lab.wait()
    assert lab.objects() == expected_objects(dict.fromkeys(STAGES, 1))
    training = lab.api.get("RayJob", lab.namespace, "demo--train-lim-s1-1")
    provenance = json.loads(training["metadata"]["annotations"][names.PROVENANCE])
    assert provenance["parent"] == "demo--select-lim"
    assert provenance["seed"] == 1
    reasons = [event["reason"] for event in lab.api.list("Event", lab.namespace)]
    assert reasons.count("StageSucceeded") == len(STAGES)
    assert reasons.count("Complete") == 1


def test_looking_again_changes_nothing(lab: Lab) -> None:
    lab.apply()
    lab.run(lambda status: status.stages["probe"].state is StageState.RUNNING)
    before = lab.snapshot()
    for _ in range(3):
        lab.look()
    after = lab.snapshot()
    assert before is not None
    assert after is not None
    assert before.experiment["metadata"]["resourceVersion"] == after.experiment["metadata"]["resourceVersion"]


def test_suspended_at_a_checkpoint_and_resumed(lab: Lab) -> None:
    lab.apply()
    lab.run(lambda status: status.stages["probe"].progress is not None)
    lab.apply(schedule={"suspend": True})
    status = lab.run(lambda status: status.phase is Phase.SUSPENDED)
    assert condition(status, "Suspended")[0] == "True"
    assert status.stages["probe"].charged_attempts == 0
    lab.wait()
    assert not [name for name in lab.objects() if name.startswith("Pod")]
    lab.apply(schedule={"suspend": False})
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    assert status.stages["probe"].attempt == 2


def test_a_lost_head_is_not_charged(lab: Lab) -> None:
    lab.apply()
    lab.run(lambda status: status.stages["probe"].state is StageState.RUNNING)
    pod = lab.api.get("Pod", lab.namespace, "demo--probe-1-driver")
    lab.api.delete("Pod", lab.namespace, "demo--probe-1-driver", pod["metadata"]["uid"])
    lab.look()
    stage = lab.status().stages["probe"]
    assert (stage.state, stage.reason, stage.charged_attempts) == (StageState.PENDING, "HeadLost", 0)
    status = lab.run()
    assert status.phase is Phase.COMPLETE
    with pytest.raises(NotFound):  # KubeRay would hold its machines for ever
        lab.api.get("RayJob", lab.namespace, "demo--probe-1")


def test_a_stage_that_fails_is_tried_again_and_then_said_to_have_failed(plane: ControlPlane) -> None:
    def script(stage_input: StageInput, step: int) -> StageResult | None:
        if stage_input.stage.name == "train-lim-s1" and step == STEPS:
            said = ("INFO step 1", "ERROR engine 0 died")
            return StageResult(outcome=Outcome.FAILED, reason="EngineLost", message="engine 0 died", last_lines=said)
        return succeed(stage_input, step)

    lab = Lab(plane, f"test-{secrets.token_hex(4)}", script)
    lab.apply(limits={"attempts": 2})
    status = lab.run()
    assert status.phase is Phase.FAILED
    assert status.stages["train-lim-s1"].attempt == 2
    assert condition(status, "Failed")[1:] == (
        "StageFailed",
        "train-lim-s1 failed after 2 attempts (EngineLost): engine 0 died; read the stage's log, mend the cause and "
        "run the failed stage afresh\n\nThe last lines of train-lim-s1:\n| INFO step 1\n| ERROR engine 0 died",
    )
    told = [event["message"] for event in lab.api.list("Event", lab.namespace) if event["type"] == "Warning"]
    lines = "EngineLost: engine 0 died\n| INFO step 1\n| ERROR engine 0 died"
    assert {f"train-lim-s1, attempt {attempt}: {lines}" for attempt in (1, 2)} <= set(told)
    assert "report: it needs train-lim-s1" not in told  # it is told, but not as a warning


def test_a_killed_stage_leaves_the_last_lines_that_ray_and_the_kubelet_have(lab: Lab) -> None:
    lab.apply(limits={"attempts": 1})
    lab.run(lambda status: status.stages["probe"].state is StageState.RUNNING)
    logged = '{"time": "2026-01-01T11:00:00Z", "level": "INFO", "logger": "limr.train", "message": "step 3"}'
    words = (
        f"Job entrypoint command failed with exit code 137, last available logs (truncated to 20,000 chars):\n{logged}"
    )
    ended = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": words}
    lab.kuberay.set_status("RayJob", "demo--probe-1", ended)
    lab.look()
    probe = lab.status().stages["probe"]
    assert (probe.state, probe.reason, probe.last_lines) == (StageState.FAILED, "NoResult", ("INFO step 3",))
    assert probe.message == "it ended without a result: Job entrypoint command failed with exit code 137"
    assert condition(lab.status(), "Failed")[2].endswith("\n\nThe last lines of probe:\n| INFO step 3")
    assert "last lines" not in lab.status().message


def test_fresh_tries_are_given_once_whatever_happens_to_the_operator(plane: ControlPlane) -> None:
    broken = True

    def script(stage_input: StageInput, step: int) -> StageResult | None:
        if broken and stage_input.stage.name == "probe":
            return StageResult(outcome=Outcome.FAILED, reason="EngineLost", message="engine 0 died")
        return succeed(stage_input, step)

    lab = Lab(plane, f"test-{secrets.token_hex(4)}", script)
    lab.apply(limits={"attempts": 2})
    assert lab.run().stages["probe"].attempt == 2
    lab.annotate({retry.ANNOTATION: "probe 2026-01-01T00:00:00Z"})
    with pytest.raises(Cut):
        lab.look(CutApi(lab, at=1, after=False))  # before its first call
    assert lab.status().retried == ""
    cut = CutApi(lab, at=4, after=True)  # the status is written then, and not all of the attempt's objects
    with pytest.raises(Cut):
        lab.look(cut)
    stage = lab.status().stages["probe"]
    assert (stage.state, stage.attempt, stage.charged_attempts) == (StageState.STARTING, 3, 0)
    status = lab.run()
    assert (status.phase, status.stages["probe"].attempt) == (Phase.FAILED, 4), "two fresh tries, as limits.attempts"
    for _ in range(3):
        lab.wait()
        lab.look()
    assert lab.status().stages["probe"].attempt == 4, "the annotation is still there"
    broken = False
    lab.annotate({retry.ANNOTATION: "* 2026-01-02T00:00:00Z"})
    status = lab.run(lambda status: status.phase is Phase.COMPLETE)
    assert (status.stages["probe"].attempt, status.retried) == (5, "* 2026-01-02T00:00:00Z")
    reasons = [event["reason"] for event in lab.api.list("Event", lab.namespace)]
    assert reasons.count("FreshTries") == 1, "what is told last was lost with the cut"


def test_what_the_cluster_lacks_is_said_before_anything_is_made(lab: Lab) -> None:
    lab.apply(
        schedule={"queue": "research", "priorityClass": "high"},
        storage={"uri": "s3://rl/x", "serviceAccountName": "rl-s3", "caConfigMap": "rl-ca"},
    )
    assert lab.look() == 15
    status, reason, message = condition(lab.status(), "Accepted")
    assert (status, reason) == ("False", "ServiceAccountMissing")
    for words in ("ServiceAccount rl-s3", "ConfigMap rl-ca", "PriorityClass high", "LocalQueue research"):
        assert f"there is no {words}".replace("no LocalQueue", "no Kueue LocalQueue") in message
    assert lab.objects() == set()


def test_what_exists_is_listed_in_pages(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limr_operator.api.PAGE", 1)
    assert list(lab.api.uids("ConfigMap", lab.namespace, names.OURS)) == []
    lab.apply()
    lab.run(lambda status: status.stages["select-lim"].state is StageState.RUNNING)
    maps = lab.api.list("ConfigMap", lab.namespace, labelSelector=names.OURS)
    assert len(maps) == 3
    assert set(lab.api.uids("ConfigMap", lab.namespace, names.OURS)) == {item["metadata"]["uid"] for item in maps}
    assert list(lab.api.uids("LocalQueue", lab.namespace)) == []  # Kueue is not installed


def test_what_is_there_already_is_applied(lab: Lab) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": lab.namespace}}
    made = lab.api.ensure({**manifest, "data": {"a": "1"}})
    again = lab.api.ensure({**manifest, "data": {"a": "2"}})
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    assert again["data"] == {"a": "2"}


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_cut_off_at_any_call(every: bool, plane: ControlPlane) -> None:
    """At every call, or at the first two of each verb and kind of object."""
    expected, calls = run_cut(Lab(plane, f"whole-{every}".lower()), at=0, after=False)
    assert expected["phase"] is Phase.COMPLETE
    assert len(calls) > 40
    kinds = [re.sub(r"demo--\S+|whole-\w+", "", call) for call in calls]
    cuts = [at for at, kind in enumerate(kinds, 1) if every or kinds[: at - 1].count(kind) < 2]
    assert len(cuts) > 15, calls
    for at in cuts:
        for after in (False,) if calls[at - 1].startswith("GET") else (False, True):
            lab = Lab(plane, f"cut-{at}-{'after' if after else 'before'}-{every}".lower())
            assert run_cut(lab, at, after)[0] == expected, (at, after)
            lab.wait()
            assert lab.objects() == expected_objects(dict.fromkeys(STAGES, 1)), (at, after)
