"""The decision: which children should exist, which should go, and what the status then says.

Level-triggered: it follows from the spec, the last status and what is there now, never from events. The same input
gives the same plan, and planning again from the status it returned changes nothing. The caller keeps three promises:
it stores the status before it acts, it observes every child it ever made that still exists, and it makes a child under
its deterministic name, so that making it twice makes it once. (Only a child that was made and removed before anyone saw
it is made again under the same number.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from limr.plan import last_lines
from limr.plan.cluster import keeps_cluster
from limr.plan.columns import with_columns
from limr.plan.graph import ENGINE_KINDS, MAX_ATTEMPTS, Child, Stage, graph
from limr.plan.guards import holds, is_held, relieved, stall_checked, stalls_at, trips
from limr.plan.observation import Finished, Observation, Running, Waiting
from limr.plan.phase import conditions, phase_of
from limr.plan.settle import ask_to_stop, changed, next_check, settle, start
from limr.plan.status import ACTIVE, StageState, StageStatus, Status
from limr.spec import Experiment
from limr.stage import ArmResult, Outcome, StageInput

Observations = Mapping[Child, Observation]

# How soon a stage that waits for a cluster is looked at again, should nothing tell that it need not wait any more.
RECHECK = timedelta(seconds=15)
RENEWABLE = frozenset({StageState.FAILED, StageState.BLOCKED, StageState.PENDING})


@dataclass(frozen=True)
class Plan:
    children: tuple[StageInput, ...]  # each should exist: make those that do not
    stops: frozenset[Child]  # ask these to checkpoint and end
    deletions: frozenset[Child]  # remove these
    status: Status
    wake_at: datetime | None  # plan again then, even if nothing happens
    keeps_cluster: bool = False  # whether the cluster that stages share stays, if there is one


def plan(
    experiment: Experiment,
    status: Status,
    observations: Observations,
    now: datetime,
    *,
    root: str,
    slots: int | None = None,
    engines_wait: str = "",
) -> Plan:
    """What should be, given what is.

    `root` is the URI of the experiment's folder in the store; at most `slots` stages run at once (None: all that may;
    0: nothing begins, because the caller refuses it). Stages with engines begin when `engines_wait`, what they wait
    for in words, is empty.
    """
    turn = _Turn(experiment, status, observations, now, engines_wait)
    turn.settle()
    turn.guard()
    turn.stop()
    turn.block()
    turn.start(slots)
    return Plan(
        children=tuple(turn.children(root)),
        stops=turn.stops(),
        deletions=turn.deletions(),
        status=turn.status(),
        wake_at=turn.wake_at(),
        keeps_cluster=turn.keeps_cluster(slots),
    )


def renewed(status: Status, only: str | None = None) -> Status:
    """The status with fresh tries for every unfinished stage, also failed ones, or for one: a person asked to go on.

    What a guard has suspended goes on in any case: else nothing would.
    """
    fresh = {
        name: changed(stage, state=StageState.PENDING, charged_attempts=0, retry_at=None, tripped=None)
        for name, stage in status.stages.items()
        if stage.state in RENEWABLE and stage.attempt < MAX_ATTEMPTS and (only in (None, name) or is_held(stage))
    }
    return status.model_copy(update={"stages": {**status.stages, **fresh}})


class _Turn:
    """One planning, step by step. `stages` moves from what the last status says to what the next one will."""

    def __init__(
        self, experiment: Experiment, status: Status, observations: Observations, now: datetime, engines_wait: str
    ) -> None:
        self._experiment = experiment
        self._limits = experiment.spec.limits
        self._guards = experiment.spec.guards
        self._held = ""  # by which guard, in words
        self._before = status
        self._seen = observations
        self._now = now
        self._order = graph(experiment)
        self._broke = False  # whether limits.deviceHours are spent
        self._engines_wait = engines_wait
        self._stages = {
            node.name: status.stages.get(node.name) or StageStatus(kind=node.ref.kind) for node in self._order
        }

    def settle(self) -> None:
        """What was seen of each stage's child."""
        for name, stage in self._stages.items():
            current = self._adopted(name, stage)
            seen = self._seen.get(Child(name, current.attempt))
            self._stages[name] = settle(current, seen, self._limits, self._now)
        budget = self._limits.device_hours
        self._broke = budget is not None and device_hours(self._stages) >= budget

    def guard(self) -> None:
        for name, stage in self._stages.items():
            self._stages[name] = stall_checked(relieved(stage, self._guards), self._guards, self._now)
        self._held = holds(self._stages, self._guards, self._broke)

    @property
    def _suspend(self) -> bool:
        return self._experiment.spec.schedule.suspend or bool(self._held)

    def _adopted(self, name: str, stage: StageStatus) -> StageStatus:
        """An attempt that the status does not know of was made before the status was lost: it counts."""
        latest = max((child.attempt for child in self._seen if child.stage == name), default=0)
        if latest > stage.attempt and stage.state in (StageState.PENDING, StageState.BLOCKED):
            return start(stage, latest)
        return stage

    def stop(self) -> None:
        for name, stage in self._stages.items():
            if self._suspend:
                message = f"suspended {f'by {self._held}' if self._held else 'on request'}"
                self._stages[name] = ask_to_stop(stage, "Suspended", message, self._limits, self._now)
            elif self._broke and stage.kind in ENGINE_KINDS:
                message = f"limits.deviceHours = {self._limits.device_hours:g} are spent"
                self._stages[name] = ask_to_stop(stage, "BudgetSpent", message, self._limits, self._now)

    def block(self) -> None:
        for node in self._order:
            stage = self._stages[node.name]
            failed = [name for name in node.needs if self._state(name) in (StageState.FAILED, StageState.BLOCKED)]
            if failed and stage.state in (StageState.PENDING, StageState.BLOCKED):
                message = f"it needs {', '.join(failed)}"
                stage = changed(stage, state=StageState.BLOCKED, reason="NeedsFailedStage", message=message)
            elif stage.state is StageState.BLOCKED:
                stage = changed(stage, state=StageState.PENDING, reason="", message="")
            self._stages[node.name] = stage

    def start(self, slots: int | None) -> None:
        """Begins what may begin, in the graph's order. A stage waits until nothing is left of its earlier attempts."""
        busy = {name for name, stage in self._stages.items() if stage.state in ACTIVE}
        busy |= {child.stage for child, seen in self._seen.items() if isinstance(seen, Waiting | Running)}
        for node in self._order:
            if slots is not None and len(busy) >= slots:
                return
            if node.name not in busy and self._may_start(node) and not self._must_wait(node):
                stage = self._stages[node.name]
                self._stages[node.name] = start(stage, stage.attempt + 1)
                busy.add(node.name)

    def _may_start(self, node: Stage) -> bool:
        stage = self._stages[node.name]
        return (
            not self._suspend
            and not (self._broke and stage.kind in ENGINE_KINDS)
            and stage.state is StageState.PENDING
            and (stage.retry_at is None or stage.retry_at <= self._now)
            and all(self._state(name) is StageState.SUCCEEDED for name in node.needs)
        )

    def _must_wait(self, node: Stage) -> bool:
        return bool(self._engines_wait) and node.ref.kind in ENGINE_KINDS

    def _waits(self) -> str:
        """Which stage would be at work now, and what it waits for; "": none, or something is at work."""
        if any(stage.state in ACTIVE for stage in self._stages.values()):
            return ""
        waiting = (node.name for node in self._order if self._must_wait(node) and self._may_start(node))
        return next((f"{name} waits until {self._engines_wait}" for name in waiting), "")

    def children(self, root: str) -> Iterator[StageInput]:
        for node in self._order:
            stage = self._stages[node.name]
            if _wanted(stage):
                yield StageInput(
                    experiment=self._experiment,
                    stage=node.ref,
                    attempt=stage.attempt,
                    root=root,
                    inputs={name: self._stages[name].outputs for name in node.needs},
                )

    def stops(self) -> frozenset[Child]:
        stopping = (item for item in self._stages.items() if item[1].state is StageState.STOPPING)
        return frozenset(Child(name, stage.attempt) for name, stage in stopping)

    def deletions(self) -> frozenset[Child]:
        """What is there and not wanted: of a stage that ended or is no more, or an attempt before the current one."""
        wanted = {Child(name, stage.attempt) for name, stage in self._stages.items() if _wanted(stage)}
        there = {child for child, seen in self._seen.items() if isinstance(seen, Waiting | Running)}
        return frozenset(there - wanted)

    def status(self) -> Status:
        self._stages = last_lines.kept(self._stages)
        generation = self._experiment.metadata.generation
        phase = phase_of(self._order, self._stages, self._suspend, self._broke and not self._held)
        status = Status(
            phase=phase,
            observed_generation=generation,
            conditions=conditions(
                phase,
                self._stages,
                self._before.conditions,
                generation,
                tuple(trips(self._stages, self._limits, self._broke)),
                held=self._held,
                waits=self._waits(),
                now=self._now,
            ),
            stages=self._stages,
            device_hours=device_hours(self._stages),
            results=self._results(),
            retried=self._before.retried,
        )
        return with_columns(status)

    def _results(self) -> tuple[ArmResult, ...]:
        report = self._order[-1].name
        seen = self._seen.get(Child(report, self._stages[report].attempt))
        if isinstance(seen, Finished) and seen.result.outcome is Outcome.SUCCEEDED:
            return seen.result.results
        return self._before.results

    def wake_at(self) -> datetime | None:
        times = [at for stage in self._stages.values() for at in next_check(stage, self._limits)]
        times += [at for stage in self._stages.values() if (at := stalls_at(stage, self._guards))]
        if self._waits():
            times.append(self._now + RECHECK)
        return min((at for at in times if at > self._now), default=None)

    def keeps_cluster(self, slots: int | None) -> bool:
        may_start = not (self._suspend or self._broke or slots == 0)
        return self._experiment.spec.schedule.reuse_cluster and keeps_cluster(self._stages, may_start)

    def _state(self, name: str) -> StageState:
        return self._stages[name].state


def device_hours(stages: Mapping[str, StageStatus]) -> float:
    ended = sum(stage.ledger.device_seconds for stage in stages.values())
    running = sum(
        stage.progress.ledger.device_seconds for stage in stages.values() if stage.progress and stage.state in ACTIVE
    )
    return (ended + running) / 3600


def _wanted(stage: StageStatus) -> bool:
    return stage.state in ACTIVE and stage.state is not StageState.TERMINATING
