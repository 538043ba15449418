"""What the planner makes of a guard: what stops, what it says, and what lets it go on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from plan_world import World, at, experiment, failed, succeeded

from limr.plan import Child, Finished, Phase, Running, StageState, renewed, retry_request, with_retry
from limr.stage import Ledger, Outcome, Progress, StageResult, Tripped

KL = {"above": 0.5, "steps": 3}
ARMS = [{"name": "lim"}, {"name": "random", "selection": {"strategy": "random"}}]


def guarded(exp: Any) -> Finished:
    """As a training says that its KL guard ended it."""
    message = "the KL was too high at steps 3 to 5; the last good checkpoint is that of step 2"
    kl = exp.spec.guards.kl
    result = StageResult(outcome=Outcome.GUARDED, reason="KLAboveBound", message=message, tripped=Tripped.by("kl", kl))
    return Finished(result, Progress(updated_at=0, step=5, steps=9, checkpoint_step=2))


def two_trainings(**guards: Any) -> World:
    world = World(experiment(arms=ARMS, guards=guards)).go()
    for stage in ("probe", "select-lim", "select-random"):
        world.end(stage, succeeded())
    assert world.running() == ["train-lim-s1", "train-random-s1"]
    return world


def suspended_by_kl() -> World:
    world = two_trainings(kl=KL)
    world.end("train-lim-s1", guarded(world.experiment))
    assert world.last.stops == {Child("train-random-s1", 1)}
    assert world.status.phase is Phase.SUSPENDING
    stopped = StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message="at step 4")
    return world.end("train-random-s1", Finished(stopped))


def test_suspend_brings_the_whole_experiment_to_rest() -> None:
    world = suspended_by_kl()
    assert world.status.phase is Phase.SUSPENDED
    assert (world.condition("Guarded").reason, world.condition("Guarded").message) == (
        "KLAboveBound",
        "train-lim-s1, attempt 1: the KL was too high at steps 3 to 5; the last good checkpoint is that of step 2; "
        "mend the cause and let it go on, or change spec.guards.kl",
    )
    assert world.condition("Suspended").reason == "Guarded"
    assert world.status.message.startswith("train-lim-s1, attempt 1: the KL was too high")
    assert world.status.charged_attempts == 0
    assert world.go(10_000).running() == []
    assert world.last.wake_at is None


def test_it_goes_on_when_the_guard_is_changed() -> None:
    world = suspended_by_kl()
    world.experiment = experiment(arms=ARMS, guards={"kl": {**KL, "above": 0.9}})
    assert world.go(100).running() == ["train-lim-s1", "train-random-s1"]
    assert world.status.stages["train-lim-s1"].attempt == 2
    assert world.condition("Guarded").status == "False"


def test_it_goes_on_when_the_guard_is_removed() -> None:
    world = suspended_by_kl()
    world.experiment = experiment(arms=ARMS)
    assert world.go(100).running() == ["train-lim-s1", "train-random-s1"]


@pytest.mark.parametrize("stage", ["train-lim-s1", "train-random-s1", "*"])
def test_it_goes_on_when_a_person_asks(stage: str) -> None:
    world = suspended_by_kl()
    world.status = with_retry(world.status, retry_request(stage, datetime(2026, 1, 1, tzinfo=UTC)))
    assert world.go(100).running() == ["train-lim-s1", "train-random-s1"]


def test_suspended_by_both_it_waits_for_both() -> None:
    world = suspended_by_kl()
    world.experiment = experiment(arms=ARMS, guards={"kl": KL}, schedule={"suspend": True})
    world.status = renewed(world.status)
    assert world.go(100).running() == []
    assert world.condition("Suspended").reason == "Suspended"


def test_stop_fails_the_stage_and_lets_the_others_go_on() -> None:
    world = two_trainings(kl={**KL, "action": "Stop"})
    world.end("train-lim-s1", guarded(world.experiment))
    assert world.running() == ["train-random-s1"]
    assert world.state("train-lim-s1") is StageState.FAILED
    assert world.state("evaluate") is StageState.BLOCKED
    assert world.condition("Guarded").status == "True"
    world.end("train-random-s1", succeeded())
    assert world.status.phase is Phase.FAILED
    assert world.condition("Failed").message.startswith("train-lim-s1 was stopped by guards.kl (KLAboveBound): the KL")
    world.status = renewed(world.status, "train-lim-s1")
    assert world.go(50).running() == ["train-lim-s1"]


def test_a_stopped_stage_goes_on_when_the_guard_is_changed() -> None:
    world = two_trainings(kl={**KL, "action": "Stop"})
    world.end("train-lim-s1", guarded(world.experiment))
    world.experiment = experiment(arms=ARMS, guards={"kl": {**KL, "action": "Suspend"}})
    assert world.go(50).running() == ["train-lim-s1", "train-random-s1"]


def test_a_trip_by_a_guard_that_was_changed_meanwhile_holds_nothing() -> None:
    world = two_trainings(kl=KL)
    tripped = guarded(world.experiment)
    world.experiment = experiment(arms=ARMS, guards={"kl": {**KL, "steps": 9}})
    world.end("train-lim-s1", tripped, 20)
    assert world.running() == ["train-lim-s1", "train-random-s1"]


def stepping(world: World, step: int, seconds: float, updated: float = 0.0) -> World:
    said = Progress(updated_at=updated or seconds, step=step, steps=9, checkpoint_step=step or None)
    world.seen[Child("probe", world.status.stages["probe"].attempt)] = Running(said)
    return world.go(seconds)


def test_a_stage_whose_steps_do_not_end_has_stalled() -> None:
    world = World(experiment(guards={"stall": {"seconds": 60}})).go().go()
    stepping(world, 0, 50)  # it speaks, but its first step has not ended
    assert world.state("probe") is StageState.RUNNING
    assert world.last.wake_at == at(60)
    stepping(world, 1, 55)
    stepping(world, 1, 114)
    assert world.state("probe") is StageState.RUNNING
    assert world.last.wake_at == at(115)
    stepping(world, 1, 115)
    assert (world.state("probe"), world.status.stages["probe"].reason) == (StageState.TERMINATING, "Stalled")
    world.go(116)
    assert (world.status.phase, world.status.charged_attempts) == (Phase.SUSPENDED, 0)
    assert world.condition("Guarded").message == (
        "probe, attempt 1: no step ended for guards.stall.seconds = 60; the last good checkpoint is that of step 1; "
        "mend the cause and let it go on, or change spec.guards.stall"
    )
    world.status = renewed(world.status)
    assert world.go(200).running() == ["probe"]
    assert world.go(201).go(259).state("probe") is StageState.RUNNING, "its time begins anew"


def test_a_stage_that_began_under_an_operator_without_guards_may_stall() -> None:
    world = World(experiment(guards={"stall": {"seconds": 60}})).go().go()
    probe = world.status.stages["probe"].model_copy(update={"step_at": None})
    world.status = world.status.model_copy(update={"stages": {**world.status.stages, "probe": probe}})
    assert world.go(59).state("probe") is StageState.RUNNING
    assert world.go(60).state("probe") is StageState.TERMINATING


def test_a_stall_may_also_fail_the_stage() -> None:
    world = World(experiment(guards={"stall": {"seconds": 60, "action": "Stop"}})).go().go()
    world.go(60).go(61)
    assert (world.status.phase, world.state("probe")) == (Phase.FAILED, StageState.FAILED)


def test_evaluations_do_not_stall() -> None:
    world = World(experiment(guards={"stall": {"seconds": 60}})).go()
    for stage in ("probe", "select-lim", "train-lim-s1"):
        world.end(stage, succeeded())
    assert world.go().go(300).running() == ["evaluate"]


def test_a_spent_budget_suspends_when_told_to() -> None:
    exp = experiment(limits={"deviceHours": 1}, guards={"deviceHours": {"action": "Suspend"}})
    world = World(exp).go().go(1)
    cost = Ledger(device_seconds=3600)
    said = Progress(updated_at=0, step=4, steps=9, checkpoint_step=3, ledger=cost)
    world.seen[Child("probe", 1)] = Running(said)
    assert world.go(2).last.stops == {Child("probe", 1)}
    result = StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message="after step 4", ledger=cost)
    world.end("probe", Finished(result, said.model_copy(update={"checkpoint_step": 4})), 3)
    assert world.status.phase is Phase.SUSPENDED
    assert (world.condition("Guarded").reason, world.condition("Guarded").message) == (
        "BudgetSpent",
        "limits.deviceHours = 1 are spent before the end of probe, train-lim-s1, evaluate; last good checkpoints: "
        "probe at step 4; raise limits.deviceHours to go on from there",
    )
    world.experiment = experiment(limits={"deviceHours": 2}, guards={"deviceHours": {"action": "Suspend"}})
    assert world.go(20).running() == ["probe"]


def test_a_budget_that_nobody_wants_any_more_holds_nothing_up() -> None:
    exp = experiment(evaluation={}, limits={"deviceHours": 1}, guards={"deviceHours": {"action": "Suspend"}})
    world = World(exp).go()
    for stage in ("probe", "select-lim"):
        world.end(stage, succeeded())
    world.end("train-lim-s1", succeeded(ledger=Ledger(device_seconds=7200)))
    assert world.running() == ["report"]
    assert world.condition("Guarded").status == "False"
    assert world.end("report", succeeded()).status.phase is Phase.COMPLETE


def test_a_retry_of_another_stage_leaves_a_stopped_one_alone() -> None:
    world = two_trainings(kl={**KL, "action": "Stop"})
    world.end("train-lim-s1", guarded(world.experiment))
    world.end("train-random-s1", failed())
    status = renewed(world.status, "train-random-s1")
    assert status.stages["train-lim-s1"].state is StageState.FAILED
