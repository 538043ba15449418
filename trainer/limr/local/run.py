"""The loop of `limr run`: observe, plan, write the status down, act, wait."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from limr.local.children import STAGE_COMMAND, Children
from limr.local.folder import RunFolder
from limr.local.interrupts import Interrupts
from limr.local.view import View
from limr.local.words import duration
from limr.plan import Child, Died, Finished, Observation, Phase, Plan, StageState, Status, plan, renewed
from limr.plan.graph import ENGINE_KINDS
from limr.spec import Experiment
from limr.stage import Outcome, StageInput

POLL_SECONDS = 0.3
FINAL = frozenset({Phase.COMPLETE, Phase.FAILED, Phase.SUSPENDED})


class Engines(Protocol):
    """What the stages that sample and train need running beside them."""

    @property
    def alive(self) -> bool: ...

    def environment(self) -> Mapping[str, str]:
        """What a process needs to reach them; starts them where they are not alive."""
        ...

    def stop(self) -> None: ...


def run_experiment(
    experiment: Experiment,
    folder: RunFolder,
    view: View,
    interrupts: Interrupts,
    engines: Engines,
    command: Sequence[str] = STAGE_COMMAND,
) -> Status:
    """Brings the experiment as far as it goes and returns its status: Complete, Failed, or Suspended by an interrupt.

    `folder` is locked by the caller. Stages that succeeded in an earlier run are not repeated; those that failed have
    fresh tries. Raises LimrError when the folder belongs to another spec or cannot be written.
    """
    folder.start(experiment)

    def environment(stage_input: StageInput) -> Mapping[str, str]:
        if stage_input.stage.kind not in ENGINE_KINDS:
            return {}
        if not engines.alive:
            view.note("starting Ray on this machine")
        return engines.environment()

    children = Children(folder, environment, command)
    try:
        with view.shown():
            return _Runner(experiment, folder, view, interrupts, children).loop()
    finally:
        children.kill_all()
        engines.stop()


class _Runner:
    def __init__(
        self, experiment: Experiment, folder: RunFolder, view: View, interrupts: Interrupts, children: Children
    ) -> None:
        self._experiment = experiment
        self._folder = folder
        self._view = view
        self._interrupts = interrupts
        self._children = children
        self._started: dict[Child, float] = {}  # by this run, not yet reported as ended
        self._began, self._monotonic = datetime.now(UTC), time.monotonic()

    def loop(self) -> Status:
        # What an earlier run left is closed first, then a person's new start gives every stage fresh tries.
        status = renewed(self._plan(self._folder.status(), self._children.observe()).status)
        self._folder.store(status)
        stopping = False
        while True:
            if self._interrupts.received and not stopping:
                stopping = True
                self._view.note("stopping with a checkpoint, within a minute; press Ctrl-C again to stop at once")
                self._experiment = suspended(self._experiment)
            seen = self._children.observe()
            made = self._plan(status, seen)
            if made.status != status:
                self._folder.store(made.status)
            status = made.status
            self._tell(seen, status)
            self._act(made)
            if status.phase in FINAL:
                return status
            self._children.wait(POLL_SECONDS)

    def _plan(self, status: Status, seen: Mapping[Child, Observation]) -> Plan:
        return plan(self._experiment, status, seen, self._now(), root=self._folder.root, slots=1)

    def _now(self) -> datetime:
        """The time, without what a laptop slept through: a stage that slept as well is not late."""
        return self._began + timedelta(seconds=time.monotonic() - self._monotonic)

    def _act(self, made: Plan) -> None:
        for child in made.deletions:
            self._children.kill(child)
        for child in made.stops:
            self._children.ask_to_stop(child)
        for stage_input in made.children:
            child = Child(stage_input.stage.name, stage_input.attempt)
            if self._children.start(stage_input):
                self._started[child] = time.monotonic()
                self._view.started(child)

    def _tell(self, seen: Mapping[Child, Observation], status: Status) -> None:
        for child in list(self._started):
            match seen.get(child):
                case Finished() | Died() as end:
                    took = time.monotonic() - self._started.pop(child)
                    self._view.ended(child, self._ending(child, end, took, status))
                case _:
                    self._view.progress(child, status.stages[child.stage])

    def _ending(self, child: Child, end: Finished | Died, seconds: float, status: Status) -> str:
        took = duration(seconds)
        match end:
            case Finished(result) if result.outcome is Outcome.SUCCEEDED:
                return f"finished in {took}"
            case Finished(result) if result.outcome is Outcome.SUSPENDED:
                return f"stopped after {took}: {result.message}"
        stage = status.stages[child.stage]
        ended = stage if stage.attempt == child.attempt else stage.previous  # it may be tried again by now
        assert ended is not None, "set when the next attempt began"
        why = f"after {took} ({ended.reason}): {ended.message}"
        if stage.tripped:
            return f"ended by a guard {why}"
        return "\n".join(
            [
                f"failed {why}",
                *(f"  | {line}" for line in ended.last_lines),
                f"  the whole log: {self._folder.log(child)}",
                *self._next_try(child, status),
            ]
        )

    def _next_try(self, child: Child, status: Status) -> list[str]:
        stage = status.stages[child.stage]
        if stage.state is not StageState.PENDING or stage.retry_at is None or self._interrupts.received:
            return []
        pause = max(0.0, (stage.retry_at - self._now()).total_seconds())
        tries = f"try {stage.charged_attempts + 1} of {self._experiment.spec.limits.attempts}"
        return [f"  {tries} begins in {duration(pause)}"]


def suspended(experiment: Experiment) -> Experiment:
    spec = experiment.spec
    schedule = spec.schedule.model_copy(update={"suspend": True})
    return experiment.model_copy(update={"spec": spec.model_copy(update={"schedule": schedule})})
