"""The stages of an experiment, what each one needs, and the names of their attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from limr.spec import Arm, Experiment
from limr.stage import StageKind, StageRef

# Keeps child names within a RayJob's 47 characters, and ends a stage that is interrupted for ever.
MAX_ATTEMPTS = 999

# These hold devices and stop at a checkpoint when asked; the others are short and hold none.
ENGINE_KINDS = frozenset({StageKind.PROBE, StageKind.TRAINING, StageKind.EVALUATION})


@dataclass(frozen=True)
class Stage:
    ref: StageRef
    needs: tuple[str, ...]  # names of stages that must have succeeded

    @property
    def name(self) -> str:
        return self.ref.name


class Child(NamedTuple):
    """One attempt of one stage."""

    stage: str
    attempt: int


def child_name(experiment: str, child: Child) -> str:
    """A DNS-1035 label of at most 47 characters; different for every experiment, stage and attempt."""
    return f"{experiment}--{child.stage}-{child.attempt}"


def graph(experiment: Experiment) -> tuple[Stage, ...]:
    """Every stage once, each after those that it needs.

    The preflight comes first: it holds no devices, and what it refuses never claims any. All selections wait for the
    probe, also those that draw at random: each one reports from the trajectories whether it can be trusted, and a
    failed probe should not have cost its controls. Without benchmarks nothing is evaluated.
    """
    spec = experiment.spec
    stages = [Stage(StageRef(name="preflight", kind=StageKind.PREFLIGHT), ())]
    if spec.selection.scores_from is None:
        stages.append(Stage(StageRef(name="probe", kind=StageKind.PROBE, seed=spec.seed), ("preflight",)))
    before_arms = (stages[-1].name,)
    arms = [arm for arm in spec.arms if not arm.reuse_probe]
    stages += [_selection(arm, before_arms) for arm in arms]
    stages += [_training(arm, seed) for arm in arms for seed in arm.seeds]
    models = tuple(stage.name for stage in stages if stage.ref.kind in (StageKind.PROBE, StageKind.TRAINING))
    if spec.evaluation.benchmarks:
        stages.append(Stage(StageRef(name="evaluate", kind=StageKind.EVALUATION), models))
    everything = tuple(stage.name for stage in stages)
    return (*stages, Stage(StageRef(name="report", kind=StageKind.REPORT), everything))


def _selection(arm: Arm, before: tuple[str, ...]) -> Stage:
    same_as = (f"select-{arm.size.same_as}",) if arm.size and arm.size.same_as else ()
    ref = StageRef(name=f"select-{arm.name}", kind=StageKind.SELECTION, arm=arm.name)
    return Stage(ref, (*before, *same_as))


def _training(arm: Arm, seed: int) -> Stage:
    ref = StageRef(name=f"train-{arm.name}-s{seed}", kind=StageKind.TRAINING, arm=arm.name, seed=seed)
    return Stage(ref, (f"select-{arm.name}",))
