"""A caller of the planner that sees what a test says and obeys as callers do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from limr.plan import Child, Finished, Observation, Plan, Running, StageState, StageStatus, Status, plan
from limr.spec import Experiment
from limr.stage import Outcome, Output, StageKind, StageResult

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = "s3://bucket/experiments/default/demo"
# Most tests begin where the preflight has succeeded.
CHECKED = Status(
    stages={
        "preflight": StageStatus(kind=StageKind.PREFLIGHT, state=StageState.SUCCEEDED, attempt=1, reason="Completed")
    }
)
BENCHMARKS = {"benchmarks": [{"name": "sums", "uri": "sums.jsonl"}]}


def experiment(**spec: Any) -> Experiment:
    base = {"model": {"uri": "m"}, "dataset": {"uri": "d.json"}, "evaluation": BENCHMARKS}
    return Experiment.model_validate({"metadata": {"name": "demo"}, "spec": {**base, **spec}})


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def succeeded(**fields: Any) -> Finished:
    output = {"manifest": Output(uri="s3://bucket/x", digest="sha256:00")}
    given = {"message": "", "outputs": output, **fields}
    return Finished(StageResult(outcome=Outcome.SUCCEEDED, reason="Completed", **given))


def failed(reason: str = "Crashed", message: str = "it broke") -> Finished:
    return Finished(StageResult(outcome=Outcome.FAILED, reason=reason, message=message))


def suspended() -> Finished:
    return Finished(StageResult(outcome=Outcome.SUSPENDED, reason="Suspended", message="at step 3"))


class World:
    """An experiment with what its caller sees; `go` plans and obeys as a caller does."""

    def __init__(self, exp: Experiment, slots: int | None = None, status: Status = CHECKED) -> None:
        self.experiment = exp
        self.slots = slots
        self.status = status
        self.seen: dict[Child, Observation] = {}
        self.last: Plan

    def go(self, seconds: float = 0) -> World:
        self.last = plan(self.experiment, self.status, self.seen, at(seconds), root=ROOT, slots=self.slots)
        again = plan(self.experiment, self.last.status, self.seen, at(seconds), root=ROOT, slots=self.slots)
        assert again == self.last, "planning twice gives the same"
        self.status = Status.model_validate_json(self.last.status.to_json())
        assert self.status == self.last.status, "the status survives its own JSON"
        for child in self.last.children:
            self.seen.setdefault(Child(child.stage.name, child.attempt), Running())
        for gone in self.last.deletions:
            del self.seen[gone]
        return self

    def end(self, stage: str, how: Observation, seconds: float = 0) -> World:
        self.seen[Child(stage, self.status.stages[stage].attempt)] = how
        return self.go(seconds)

    def running(self) -> list[str]:
        return sorted(child.stage for child, seen in self.seen.items() if isinstance(seen, Running))

    def state(self, stage: str) -> StageState:
        return self.status.stages[stage].state

    def condition(self, kind: str) -> Any:
        return next(c for c in self.status.conditions if c.type == kind)
