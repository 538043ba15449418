"""The planner by example: the graph, one stage's life, failure, suspension, budget."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from plan_world import CHECKED, ROOT, T0, World, at, experiment, failed, succeeded, suspended

from limr.plan import (
    Child,
    Died,
    EndedAttempt,
    Finished,
    Phase,
    Running,
    StageState,
    Status,
    Waiting,
    child_name,
    graph,
    immutable_changes,
    plan,
    renewed,
    retry_request,
    with_retry,
)
from limr.spec import Experiment
from limr.stage import ArmResult, Ledger, Outcome, Progress, Selected, StageResult

ARMS = [
    {"name": "lim"},
    {"name": "random", "selection": {"strategy": "random"}, "size": {"sameAs": "lim"}, "seeds": [1, 2]},
    {"name": "full", "reuseProbe": True},
]


def needs(exp: Experiment) -> dict[str, set[str]]:
    return {stage.name: set(stage.needs) for stage in graph(exp)}


def test_graph_of_the_paper() -> None:
    trainings = {"train-lim-s1", "train-random-s1", "train-random-s2"}
    assert needs(experiment(arms=ARMS)) == {
        "preflight": set(),
        "probe": {"preflight"},
        "select-lim": {"probe"},
        "select-random": {"probe", "select-lim"},
        "train-lim-s1": {"select-lim"},
        "train-random-s1": {"select-random"},
        "train-random-s2": {"select-random"},
        "evaluate": {"probe", *trainings},
        "report": {"preflight", "probe", "select-lim", "select-random", "evaluate", *trainings},
    }


def test_given_scores_leave_the_probe_out() -> None:
    exp = experiment(selection={"scoresFrom": "scores.json"}, training={"steps": 3})
    assert needs(exp) == {
        "preflight": set(),
        "select-lim": {"preflight"},
        "train-lim-s1": {"select-lim"},
        "evaluate": {"train-lim-s1"},
        "report": {"preflight", "select-lim", "train-lim-s1", "evaluate"},
    }


def test_without_benchmarks_nothing_is_evaluated() -> None:
    assert "evaluate" not in needs(experiment(evaluation={}))


def test_child_names_are_short_labels_and_never_shared() -> None:
    long = "a" * 20
    exp = experiment(arms=[{"name": "b" * 10, "seeds": [999]}])
    names = [child_name(long, Child(stage.name, 999)) for stage in graph(exp)]
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 47 for name in names)
    # An experiment called x-select-a and an arm called a-report of experiment x do not meet.
    assert child_name("x-select-a", Child("report", 1)) != child_name("x", Child("select-a-report", 1))


def test_the_columns_follow_the_run() -> None:
    world = World(experiment()).go()
    assert (world.status.stage, world.status.progress, world.status.selected) == ("probe", "starting", "")
    world.seen[Child("probe", 1)] = Running(Progress(updated_at=1.0, step=3, steps=168))
    assert (world.go(1).status.progress, world.status.message) == ("3/168", "running: probe (attempt 1)")
    world.end("probe", succeeded())
    world.end("select-lim", succeeded(selected=Selected(prompts=1389, of=8523)))
    assert (world.status.stage, world.status.selected) == ("train-lim-s1", "1389/8523")


def test_a_curve_stays_until_its_stage_has_succeeded() -> None:
    world = World(experiment()).go()
    said = Progress(updated_at=1.0, step=2, steps=2, reward_curve=(0.1, 0.2))
    world.seen[Child("probe", 1)] = Running(said)
    assert world.go(1).status.stages["probe"].progress == said
    world.end("probe", replace(succeeded(), progress=said))
    assert world.status.stages["probe"].progress == said.model_copy(update={"reward_curve": ()})


def test_a_whole_run() -> None:
    world = World(experiment(arms=ARMS)).go()
    assert world.status.phase is Phase.RUNNING
    assert world.running() == ["probe"]
    world.end("probe", succeeded())
    assert world.running() == ["select-lim"]
    world.end("select-lim", succeeded())
    assert world.running() == ["select-random", "train-lim-s1"]
    world.end("select-random", succeeded())
    assert world.running() == ["train-lim-s1", "train-random-s1", "train-random-s2"]
    inputs = next(child for child in world.last.children if child.stage.name == "train-random-s2")
    assert inputs.inputs["select-random"]["manifest"].uri == "s3://bucket/x"
    assert inputs.root == ROOT
    for seed in ("lim-s1", "random-s1", "random-s2"):
        world.end(f"train-{seed}", succeeded())
    assert world.running() == ["evaluate"]
    assert {"probe", "train-lim-s1"} <= set(world.last.children[0].inputs)
    world.end("evaluate", succeeded())
    world.end("report", succeeded(results=(ArmResult(name="lim", prompts=7),)), seconds=60)
    assert world.status.phase is Phase.COMPLETE
    assert world.status.results == (ArmResult(name="lim", prompts=7),)
    assert world.condition("Complete").status == "True"
    assert world.condition("Complete").last_transition_time == at(60)
    assert world.condition("Failed").last_transition_time == at(0)
    assert world.last.children == ()
    assert world.last.wake_at is None
    world.seen.clear()
    assert world.go(9e9).status.phase is Phase.COMPLETE, "finished stages stay finished when their children are gone"


def test_a_run_that_did_harm_says_so_before_anything_else() -> None:
    world = World(experiment(arms=[{"name": "lim"}])).go()
    for stage in ("probe", "select-lim", "train-lim-s1", "evaluate"):
        world.end(stage, succeeded())
    harm = "Every arm is worse than the base model, lim by 12.0 points: training did harm."
    world.end("report", succeeded(message=harm))
    complete = world.condition("Complete")
    assert (complete.status, complete.reason) == ("True", "TrainingDidHarm")
    assert world.status.message == complete.message == f"{harm} All 6 stages ended; see the report"


def test_one_slot_runs_one_stage_at_a_time() -> None:
    world = World(experiment(arms=ARMS), slots=1, status=Status()).go()
    order = []
    while world.status.phase is not Phase.COMPLETE:
        (stage,) = world.running()
        order.append(stage)
        world.end(stage, succeeded())
    assert order == [stage.name for stage in graph(world.experiment)]


def test_a_crash_is_retried_with_growing_pauses_until_the_tries_are_used_up() -> None:
    world = World(experiment(limits={"attempts": 3})).go(0).go(1)
    world.end("probe", failed(), 3)
    assert world.running() == []
    assert world.last.wake_at == at(11)
    assert world.condition("Progressing").reason == "WaitingToRetry"
    assert world.go(10).running() == []
    assert world.go(11).go(12).status.stages["probe"].attempt == 2
    world.end("probe", Died("OutOfMemory", "killed by signal 9"), 13)
    assert world.last.wake_at == at(32)
    world.go(32).go(33).end("probe", failed("Crashed", "ValueError: no"), 34)
    assert world.state("probe") is StageState.FAILED
    assert world.state("report") is StageState.BLOCKED
    assert world.status.phase is Phase.FAILED
    message = world.condition("Failed").message
    assert message.startswith("probe failed after 3 attempts (Crashed): ValueError: no; ")
    assert "log" in message
    assert world.go(9999).running() == []


def test_what_ran_for_long_is_tried_again_at_once() -> None:
    world = World(experiment()).go(0).go(1).end("probe", failed(), 3600)
    assert world.running() == ["probe"]
    stage = world.status.stages["probe"]
    assert stage.charged_attempts == 1
    assert stage.previous == EndedAttempt(attempt=1, reason="Crashed", message="it broke")


def test_bad_input_is_not_retried() -> None:
    world = World(experiment()).go().end("probe", failed("BadInput", "d.json: row 3 has no answer"))
    assert world.status.phase is Phase.FAILED
    assert "probe failed after 1 attempt (BadInput): d.json: row 3" in world.condition("Failed").message


def test_what_the_preflight_refuses_claims_no_device_and_is_not_accepted() -> None:
    world = World(experiment(), status=Status()).go()
    assert world.running() == ["preflight"]
    world.end("preflight", failed("BadInput", "d.json: row 3 has no answer"))
    assert (world.running(), world.status.phase) == ([], Phase.FAILED)
    accepted = world.condition("Accepted")
    assert (accepted.status, accepted.reason) == ("False", "BadInput")
    assert accepted.message.startswith("preflight failed after 1 attempt (BadInput): d.json: row 3 has no answer; ")
    world.status = renewed(world.status)
    assert world.go(60).running() == ["preflight"]
    assert world.end("preflight", succeeded()).condition("Accepted").status == "True"
    assert world.running() == ["probe"]


def test_interruptions_are_not_charged_and_go_on_at_once() -> None:
    world = World(experiment(limits={"attempts": 1})).go(0).go(1)
    for hour in range(1, 6):
        world.end("probe", Died("Interrupted", "its machine was taken", charged=False), 3600 * hour)
        world.go(3600 * hour)
    stage = world.status.stages["probe"]
    assert (stage.state, stage.attempt, stage.charged_attempts) == (StageState.RUNNING, 6, 0)


def test_an_attempt_that_is_interrupted_at_birth_does_not_spin() -> None:
    world = World(experiment()).go(0).go(1)
    world.end("probe", Died("Interrupted", "", charged=False), 3)
    assert world.running() == []
    assert world.last.wake_at == at(1 + 10)


def test_a_child_that_vanishes_is_not_made_again_under_its_number() -> None:
    world = World(experiment()).go().go(1)
    world.seen.clear()
    world.go(100)
    assert world.running() == ["probe"]
    assert world.status.stages["probe"].attempt == 2
    assert world.status.stages["probe"].charged_attempts == 0


def test_a_child_that_was_never_made_is_made_under_its_number() -> None:
    world = World(experiment()).go()
    world.seen.clear()
    world.go(100)
    assert [(child.stage.name, child.attempt) for child in world.last.children] == [("probe", 1)]


def test_a_silent_stage_is_removed_and_charged_only_when_it_is_gone() -> None:
    world = World(experiment(limits={"heartbeatSeconds": 60, "waitSeconds": 60})).go(0).go(1)
    probe = Child("probe", 1)
    world.seen[probe] = Running(Progress(updated_at=5, step=1))
    assert world.go(50).last.wake_at == at(110), "the planner's clock counts, not the stage's"
    last = plan(world.experiment, world.status, world.seen, at(110), root=ROOT)
    assert last.deletions == {probe}
    assert last.status.stages["probe"].state is StageState.TERMINATING
    assert last.children == ()
    still_there = plan(world.experiment, last.status, world.seen, at(500), root=ROOT)
    assert still_there.deletions == {probe}
    gone = plan(world.experiment, last.status, {}, at(500), root=ROOT).status.stages["probe"]
    assert (gone.charged_attempts, gone.attempt, gone.state) == (1, 2, StageState.STARTING)


def test_a_result_that_came_before_the_removal_counts() -> None:
    world = World(experiment(limits={"activeDeadlineSeconds": 60})).go(0).go(1)
    last = plan(world.experiment, world.status, world.seen, at(61), root=ROOT)
    assert last.status.stages["probe"].reason == "DeadlineExceeded"
    done = plan(world.experiment, last.status, {Child("probe", 1): succeeded()}, at(62), root=ROOT)
    assert done.status.stages["probe"].state is StageState.SUCCEEDED


def test_waiting_in_a_queue_costs_no_time() -> None:
    world = World(experiment(limits={"heartbeatSeconds": 60, "waitSeconds": 60, "activeDeadlineSeconds": 60})).go()
    world.seen[Child("probe", 1)] = Waiting("Queued", "behind 3 others")
    world.go(99_999)
    assert world.state("probe") is StageState.QUEUED
    assert world.last.wake_at is None
    world.seen[Child("probe", 1)] = Running()
    assert world.go(100_000).status.stages["probe"].started_at == at(100_000)


def suspend(world: World, value: bool) -> World:
    world.experiment = experiment(
        **{**world.experiment.spec.model_dump(by_alias=True, exclude_unset=True), "schedule": {"suspend": value}}
    )
    return world


def test_suspend_and_resume() -> None:
    world = World(experiment()).go(0).go(1)
    suspend(world, True).go(20)
    assert world.last.stops == {Child("probe", 1)}
    assert world.status.phase is Phase.SUSPENDING
    suspend(world, False).go(21)
    assert world.last.stops == {Child("probe", 1)}, "a request to stop is not taken back"
    last = Progress(updated_at=29.0, step=3, checkpoint_step=3)
    suspend(world, True).end("probe", replace(suspended(), progress=last), 30)
    assert world.status.phase is Phase.SUSPENDED
    assert world.status.stages["probe"].progress == last
    assert world.condition("Suspended").status == "True"
    assert world.go(999).running() == []
    suspend(world, False).go(1000)
    stage = world.status.stages["probe"]
    assert (stage.attempt, stage.charged_attempts, world.status.phase) == (2, 0, Phase.RUNNING)


def test_suspending_removes_what_has_not_begun() -> None:
    world = World(experiment()).go()
    world.seen[Child("probe", 1)] = Waiting()
    world.go()
    suspend(world, True).go()
    assert world.last.deletions == {Child("probe", 1)}
    assert world.go().status.phase is Phase.SUSPENDED


def test_suspended_from_the_start_makes_nothing() -> None:
    world = World(experiment(schedule={"suspend": True})).go()
    assert world.last.children == ()
    assert world.status.phase is Phase.SUSPENDED


def test_one_failed_stage_can_be_retried_alone() -> None:
    world = World(experiment(arms=ARMS[:2], limits={"attempts": 1})).go()
    for stage in ("probe", "select-lim", "select-random"):
        world.end(stage, succeeded())
    for stage in ("train-lim-s1", "train-random-s1", "train-random-s2"):
        world.end(stage, failed())
    assert world.status.phase is Phase.FAILED
    request = retry_request("train-lim-s1", at(900))
    assert request == "train-lim-s1 2026-01-01T00:15:00.000000Z"
    world.status = with_retry(world.status, request)
    world.go(1000)
    assert world.running() == ["train-lim-s1"]
    assert world.state("train-random-s1") is StageState.FAILED
    assert (world.status.phase, world.status.retried) == (Phase.RUNNING, request)
    world.end("train-lim-s1", failed(), seconds=1001)
    assert with_retry(world.status, request) == world.status, "honoured once"
    world.status = with_retry(world.status, retry_request("*", at(1002)))
    world.go(1002)
    assert world.running() == ["train-lim-s1", "train-random-s1", "train-random-s2"]


@pytest.mark.parametrize("request_", ["", "  ", "unknown 2026-01-01T00:00:00Z"])
def test_a_request_that_names_no_stage_changes_none(request_: str) -> None:
    world = World(experiment(limits={"attempts": 1})).go()
    world.end("probe", failed())
    assert with_retry(world.status, request_).stages == world.status.stages


def test_no_stage_gets_more_attempts_than_its_names_can_count() -> None:
    world = World(experiment(limits={"attempts": 1})).go()
    world.end("probe", failed())
    worn = world.status.stages["probe"].model_copy(update={"attempt": 999})
    status = world.status.model_copy(update={"stages": {**world.status.stages, "probe": worn}})
    assert with_retry(status, "* now").stages["probe"] == worn


def test_a_failed_arm_lets_the_others_finish() -> None:
    world = World(experiment(arms=ARMS[:2], limits={"attempts": 1})).go()
    for stage in ("probe", "select-lim", "select-random"):
        world.end(stage, succeeded())
    world.end("train-random-s1", failed())
    assert world.running() == ["train-lim-s1", "train-random-s2"]
    assert world.status.phase is Phase.RUNNING
    world.end("train-lim-s1", succeeded())
    world.end("train-random-s2", succeeded())
    assert world.status.phase is Phase.FAILED
    assert world.state("evaluate") is StageState.BLOCKED
    world.status = renewed(world.status)
    world.go(1000)
    assert world.running() == ["train-random-s1"]
    assert world.status.stages["train-random-s1"].attempt == 2
    assert world.status.phase is Phase.RUNNING
    assert world.state("evaluate") is StageState.PENDING


def test_a_spent_budget_stops_at_a_checkpoint_and_goes_on_when_it_is_raised() -> None:
    world = World(experiment(limits={"deviceHours": 2})).go(0).go(1)
    spent = Ledger(device_seconds=7200)
    world.seen[Child("probe", 1)] = Running(Progress(updated_at=0, ledger=spent))
    world.go(100)
    assert world.last.stops == {Child("probe", 1)}
    assert world.status.device_hours == 2
    result = StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message="", ledger=spent)
    world.end("probe", Finished(result), 200)
    assert world.status.phase is Phase.FAILED
    assert world.condition("Failed").reason == "BudgetSpent"
    assert "raise limits.deviceHours" in world.condition("Failed").message
    assert world.status.device_hours == 2, "not counted twice"
    world.experiment = experiment(limits={"deviceHours": 3})
    assert world.go(300).running() == ["probe"]


def test_selection_and_report_need_no_budget() -> None:
    world = World(experiment(limits={"deviceHours": 1})).go()
    world.end("probe", succeeded(ledger=Ledger(device_seconds=3600)))
    assert world.running() == ["select-lim"]
    world.end("select-lim", succeeded())
    assert world.running() == []
    assert world.status.phase is Phase.FAILED


def test_a_lost_status_finds_its_children_again() -> None:
    world = World(experiment()).go()
    world.end("probe", failed(), 0)
    world.go(10).go(11)
    assert world.status.stages["probe"].attempt == 2
    world.status = Status()
    world.go(12)
    assert world.status.stages["probe"].attempt == 2
    assert world.state("probe") is StageState.RUNNING
    world.seen[Child("probe", 2)] = succeeded()
    world.status = Status()
    assert world.go(13).state("probe") is StageState.SUCCEEDED


def test_a_child_of_a_stage_that_is_no_more_is_removed() -> None:
    world = World(experiment())
    world.seen[Child("train-gone-s1", 1)] = Running()
    last = plan(world.experiment, world.status, world.seen, T0, root=ROOT)
    assert last.deletions == {Child("train-gone-s1", 1)}


def shared(**spec: Any) -> World:
    """With the probe at work in a cluster that stages share."""
    world = World(experiment(schedule={"reuseCluster": True}, evaluation={}, **spec), slots=1).go()
    assert world.last.keeps_cluster
    return world


def test_a_shared_cluster_is_kept_until_the_last_stage_with_engines_has_ended() -> None:
    world = shared()
    for stage, kept in (("probe", True), ("select-lim", True), ("train-lim-s1", False), ("report", False)):
        world.seen[Child(stage, 1)] = succeeded()
        assert world.go().last.keeps_cluster is kept, stage
    assert world.status.phase is Phase.COMPLETE


def test_a_shared_cluster_is_kept_over_a_pause_before_a_retry() -> None:
    world = shared()
    world.seen[Child("probe", 1)] = failed()
    assert world.go().status.stages["probe"].retry_at == at(10)
    assert world.last.keeps_cluster
    world.slots = 0  # what the spec names is missing
    assert not world.go(10).last.keeps_cluster


def test_a_silent_attempt_leaves_no_shared_cluster_behind() -> None:
    world = shared(limits={"heartbeatSeconds": 60, "waitSeconds": 60})
    assert world.go(60).last.keeps_cluster
    world.go(121)
    assert world.status.stages["probe"].state is StageState.TERMINATING
    assert not world.last.keeps_cluster


def test_a_spent_budget_leaves_no_shared_cluster_behind() -> None:
    world = shared(limits={"deviceHours": 1})
    world.seen[Child("probe", 1)] = Running(Progress(updated_at=1.0, ledger=Ledger(device_seconds=3600)))
    assert world.go(1).last.keeps_cluster  # it is still to write its checkpoint
    cost = Ledger(device_seconds=3600)
    stopped = StageResult(outcome=Outcome.SUSPENDED, reason="BudgetSpent", message="at step 3", ledger=cost)
    world.seen[Child("probe", 1)] = Finished(stopped)
    assert not world.go(2).last.keeps_cluster


def test_a_stage_that_waits_for_its_cluster_says_so_and_is_looked_at_again() -> None:
    exp = experiment(schedule={"reuseCluster": True})
    made = plan(exp, CHECKED, {}, T0, root=ROOT, slots=1, engines_wait="Pod p is removed")
    assert (made.children, made.wake_at) == ((), at(15))
    progressing = made.status.condition("Progressing")
    assert progressing is not None
    assert (progressing.reason, progressing.message) == ("WaitingForCluster", "probe waits until Pod p is removed")


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ({"limits": {"attempts": 9}, "schedule": {"queue": "q"}, "cluster": {"learner": {"replicas": 2}}}, []),
        ({"ppo": {"clipLow": 0.1}, "seed": 3}, ["spec.ppo.clipLow", "spec.seed"]),
        ({"storage": {"uri": "s3://b/p", "endpoint": "http://127.0.0.1:9"}}, ["spec.storage.uri"]),
        ({"arms": [{"name": "lim", "seeds": [2]}]}, ["spec.arms"]),
        ({"schedule": {"reuseCluster": True, "parallelStages": 1}}, ["spec.schedule.reuseCluster"]),
    ],
)
def test_what_may_change_once_it_has_started(spec: dict[str, Any], paths: list[str]) -> None:
    assert immutable_changes(experiment(), experiment(**spec)) == paths
