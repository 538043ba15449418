"""The planner against a hostile world: crashes, interruptions, suspensions and lost callers in any order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum

from hypothesis import given, settings
from hypothesis import strategies as st

from limr.plan import (
    ACTIVE,
    Child,
    Died,
    Finished,
    Phase,
    Plan,
    Running,
    StageState,
    Status,
    Waiting,
    graph,
    plan,
    renewed,
)
from limr.plan.graph import ENGINE_KINDS
from limr.spec import Action, Experiment
from limr.stage import Ledger, Outcome, Progress, StageResult, Tripped

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ARMS = [
    {"name": "lim"},
    {"name": "random", "selection": {"strategy": "random"}, "size": {"sameAs": "lim"}, "seeds": [1, 2]},
    {"name": "full", "reuseProbe": True},
]


def experiment(attempts: int, suspend: bool, reuse: bool, action: Action, bound: float) -> Experiment:
    spec = {
        "model": {"uri": "m"},
        "dataset": {"uri": "d"},
        "arms": ARMS,
        "evaluation": {"benchmarks": [{"name": "b", "uri": "b.json"}]},
        "limits": {"attempts": attempts, "heartbeatSeconds": 60, "waitSeconds": 60, "activeDeadlineSeconds": 600},
        "guards": {"kl": {"above": bound, "action": action}, "stall": {"seconds": 45, "action": action}},
        "schedule": {"suspend": suspend, "reuseCluster": reuse},
    }
    return Experiment.model_validate({"metadata": {"name": "demo"}, "spec": spec})


class Act(Enum):
    SUCCEED = "succeed"
    FAIL = "fail"
    CRASH = "crash"
    INTERRUPT = "interrupt"
    QUEUE = "queue"
    BEAT = "beat"
    VANISH = "vanish"
    SUSPEND = "suspend"
    RESUME = "resume"
    GUARD = "a guard ends it"
    CHANGE_GUARD = "a person changes the guard"
    GO_ON = "a person asks to go on"
    WAIT = "wait"
    LOSE_PLAN = "the caller dies after storing the status, before acting"


class World:
    """A caller that obeys the planner, and the children it made. Checks the promises at every step."""

    def __init__(self, attempts: int, slots: int | None, reuse: bool = False, action: Action = Action.SUSPEND) -> None:
        self.attempts, self.slots, self.reuse, self.action = attempts, slots, reuse, action
        self.suspend = False
        self.bound = 1.0
        self.status = Status()
        self.now = T0
        self.children: dict[Child, Waiting | Running | Finished | Died] = {}
        self.observed: set[Child] = set()
        self.stops: frozenset[Child] = frozenset()
        self.started: dict[str, list[int]] = {}
        self.succeeded: set[str] = set()

    def step(self, obey: bool = True) -> Plan:
        exp = self.experiment()
        self.observed |= self.children.keys()
        made = plan(exp, self.status, self.children, self.now, root="r", slots=self.slots)
        assert plan(exp, made.status, self.children, self.now, root="r", slots=self.slots) == made
        self.status = Status.model_validate_json(made.status.to_json())
        self.succeeded |= {n for n, s in self.status.stages.items() if s.state is StageState.SUCCEEDED}
        self.check(exp, made)
        if obey:
            self.obey(made)
        return made

    def experiment(self) -> Experiment:
        return experiment(self.attempts, self.suspend, self.reuse, self.action, self.bound)

    def obey(self, made: Plan) -> None:
        self.stops = made.stops
        for child in made.deletions:
            del self.children[child]
        for wanted in made.children:
            child = Child(wanted.stage.name, wanted.attempt)
            if child in self.children:
                continue
            numbers = self.started.setdefault(child.stage, [])
            assert not numbers or child.attempt > numbers[-1], "attempt numbers strictly increase"
            assert not any(c.stage == child.stage for c in self.live()), "never two live children of one stage"
            numbers.append(child.attempt)
            self.children[child] = Running()

    def check(self, exp: Experiment, made: Plan) -> None:
        stages = self.status.stages
        wanted = [child.stage.name for child in made.children]
        assert len(wanted) == len(set(wanted))
        assert not self.succeeded & set(wanted), "finished stages never restart"
        assert all(stages[name].state is StageState.SUCCEEDED for name in self.succeeded)
        for node in graph(exp):
            if stages[node.name].attempt:
                assert all(stages[need].state is StageState.SUCCEEDED for need in node.needs)
            assert stages[node.name].charged_attempts <= self.attempts
        if self.slots is not None:
            assert len(wanted) <= self.slots
        assert made.wake_at is None or made.wake_at > self.now
        if self.status.phase in (Phase.COMPLETE, Phase.FAILED, Phase.SUSPENDED):
            assert not any(stage.state in ACTIVE for stage in stages.values())
        self.check_cluster(made)

    def check_cluster(self, made: Plan) -> None:
        """Never without need, never missing where a stage works, and left at once with what was ended by force."""
        engines = {stage.state for stage in self.status.stages.values() if stage.kind in ENGINE_KINDS}
        if not self.reuse or StageState.TERMINATING in engines:
            assert not made.keeps_cluster
        elif engines & ACTIVE:
            assert made.keeps_cluster
        elif self.status.phase in (Phase.SUSPENDED, Phase.SUSPENDING, Phase.COMPLETE, Phase.FAILED):
            assert not made.keeps_cluster
        else:
            assert made.keeps_cluster == (StageState.PENDING in engines)

    def live(self) -> list[Child]:
        return [child for child, seen in self.children.items() if isinstance(seen, Waiting | Running)]

    def act(self, act: Act, pick: int) -> None:
        live = self.live()
        if act in (Act.SUSPEND, Act.RESUME):
            self.suspend = act is Act.SUSPEND
        elif act is Act.CHANGE_GUARD:
            self.bound += 1
        elif act is Act.GO_ON:
            self.go_on()
        elif act is Act.WAIT:
            self.now += timedelta(seconds=1 + 97 * (pick % 9))
        elif live:
            self.touch(act, live[pick % len(live)])

    def touch(self, act: Act, child: Child) -> None:
        ledger = Ledger(device_seconds=1)
        if act is Act.SUCCEED:
            self.children[child] = finished(Outcome.SUCCEEDED)
        elif act is Act.FAIL:
            self.children[child] = finished(Outcome.FAILED)
        elif act is Act.GUARD:
            self.children[child] = self.guarded()
        elif act in (Act.CRASH, Act.INTERRUPT):
            self.children[child] = Died("Crashed", "", charged=act is Act.CRASH)
        elif act is Act.QUEUE:
            self.children[child] = Waiting()
        elif act is Act.BEAT:
            self.children[child] = Running(Progress(updated_at=self.now.timestamp(), ledger=ledger))
        elif act is Act.VANISH and child in self.observed:
            del self.children[child]

    def guarded(self) -> Finished:
        kl = self.experiment().spec.guards.kl
        assert kl is not None
        tripped = Tripped.by("kl", kl)
        return Finished(StageResult(outcome=Outcome.GUARDED, reason="KLAboveBound", message="", tripped=tripped))

    def go_on(self) -> None:
        """As a person asks by the annotation, which the caller honours before it plans."""
        self.status = renewed(self.status)


def finished(outcome: Outcome) -> Finished:
    return Finished(StageResult(outcome=outcome, reason="Completed", message=""))


acts = st.lists(st.tuples(st.sampled_from(Act), st.integers(0, 20)), max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    acts=acts,
    attempts=st.integers(1, 3),
    slots=st.sampled_from([None, 1, 2]),
    reuse=st.booleans(),
    action=st.sampled_from(Action),
)
def test_any_history_keeps_the_promises_and_then_converges(
    acts: list[tuple[Act, int]], attempts: int, slots: int | None, reuse: bool, action: Action
) -> None:
    world = World(attempts, slots, reuse, action)
    world.step()
    for act, pick in acts:
        world.act(act, pick)
        world.step(obey=act is not Act.LOSE_PLAN)

    # From here on the world is kind: stages stop when asked and succeed otherwise, and time passes when asked for.
    world.suspend = False
    for _ in range(200):
        made = world.step()
        if world.status.phase in (Phase.COMPLETE, Phase.FAILED):
            break
        if world.status.phase is Phase.SUSPENDED:
            world.go_on()
        for child in world.live():
            world.children[child] = finished(Outcome.SUSPENDED if child in world.stops else Outcome.SUCCEEDED)
        if not made.children and not made.deletions and made.wake_at:
            world.now = made.wake_at
    failed = [name for name, stage in world.status.stages.items() if stage.state is StageState.FAILED]
    assert world.status.phase is (Phase.FAILED if failed else Phase.COMPLETE)
    if failed:
        condition = next(c for c in world.status.conditions if c.type == "Failed")
        assert all(name in condition.message for name in failed)


@settings(max_examples=50, deadline=None)
@given(acts=acts)
def test_a_suspension_always_comes_to_rest(acts: list[tuple[Act, int]]) -> None:
    world = World(3, None)
    world.step()
    for act, pick in acts:
        world.act(act, pick)
        world.step()
    world.suspend = True
    for _ in range(10):
        world.step()
        for child in world.live():
            world.children[child] = finished(Outcome.SUSPENDED)
    assert world.status.phase in (Phase.SUSPENDED, Phase.COMPLETE, Phase.FAILED)
    assert world.live() == []
