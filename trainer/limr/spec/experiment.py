"""`spec` as a whole, with the rules that join its parts, and the resource around it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from limr.cel import Cel
from limr.spec.cluster import Cluster, Schedule
from limr.spec.data import Dataset, Storage
from limr.spec.evaluation import Evaluation
from limr.spec.guards import Guards
from limr.spec.limits import Limits
from limr.spec.model import Model
from limr.spec.part import ExperimentName, Part, Seed, refuse
from limr.spec.ppo import PPO
from limr.spec.selection import Arm, Selection, Strategy
from limr.spec.tracker import Tracker
from limr.spec.training import Checkpoint, Probe, Reward, Training

RESERVED_NAMES = ("base", "probe")  # lines of the report that are no arms
MAX_ARMS = 20
_TWICE = "!self.arms.exists_one(other, other.name == arm.name)"
_INDEXES = list(range(MAX_ARMS))  # CEL has no other way to speak of what stands above
_SAME_AS_NONE_ABOVE = (
    "i < self.arms.size() && has(self.arms[i].size) && has(self.arms[i].size.sameAs) && "
    f"!{_INDEXES}.exists(j, j < i && self.arms[j].name == self.arms[i].size.sameAs && !self.arms[j].reuseProbe)"
)
_LEARNER_RANKS = (
    "self.cluster.learner.replicas * "
    "(self.cluster.learner.gpus > 0 ? self.cluster.learner.gpus : self.cluster.learner.processes)"
)
_LEARNERS = "cluster.learner.replicas × cluster.learner.gpus (without GPUs, cluster.learner.processes)"
_FIRST_SAME_AS_NONE = f"self.arms[{_INDEXES}.filter(i, {_SAME_AS_NONE_ABOVE})[0]].size.sameAs"


class Spec(Part):
    seed: Seed = Field(1, description="Of the probe, and of everything drawn at random.")
    model: Model = Field(description="The base model that every training starts from.")
    dataset: Dataset = Field(description="The prompts to choose from, with their answers.")
    storage: Storage = Field(Storage(), description="Where everything that the experiment makes is kept.")
    ppo: PPO = Field(PPO(), description="The training recipe, the same for the probe and every arm.")
    checkpoint: Checkpoint = Field(Checkpoint(), description="What an interrupted stage goes on from.")
    reward: Reward = Field(Reward(), description="How responses are graded, in training and in evaluation.")
    probe: Probe = Field(Probe(), description="The training on all prompts that measures them.")
    selection: Selection = Field(Selection(), description="How arms choose their prompts, unless they say otherwise.")
    training: Training = Field(Training(), description="What all arms' trainings share.")
    arms: list[Arm] = Field(
        [Arm(name="lim")], min_length=1, max_length=MAX_ARMS, description="The follow-on trainings that are compared."
    )
    evaluation: Evaluation = Field(Evaluation(), description="How the base model and the trained models are compared.")
    tracking: list[Tracker] = Field(
        [], max_length=3, description="Experiment trackers that are told of every training step; see docs/tracking.md."
    )
    cluster: Cluster = Field(Cluster(), description="Image and workers.")
    schedule: Schedule = Field(Schedule(), description="Queueing and suspension.")
    limits: Limits = Field(Limits(), description="When to stop trying.")
    guards: Guards = Field(Guards(), description="When to end what goes wrong before it has cost too much.")
    ttl_seconds_after_finished: int | None = Field(
        None, ge=0, description="Delete the resource this long after its end; what it stored stays. Default: never."
    )

    cel = (
        Cel(
            f"!self.arms.exists(arm, {_TWICE})",
            f"'${{self.arms.filter(arm, {_TWICE})[0].name}}' stands twice; rename one",
            at="arms",
        ),
        Cel(
            f"!self.arms.exists(arm, arm.name in {list(RESERVED_NAMES)})",
            f"the report has a line '${{self.arms.filter(arm, arm.name in {list(RESERVED_NAMES)})[0].name}}' of its "
            "own; rename the arm",
            at="arms",
        ),
        Cel(
            f"!{_INDEXES}.exists(i, {_SAME_AS_NONE_ABOVE})",
            f"size.sameAs: '${{{_FIRST_SAME_AS_NONE}}}' is not the name of an arm above this one that "
            "selects prompts (reuseProbe selects none); put that arm first",
            at="arms",
        ),
        Cel(
            f"self.ppo.trainBatchSize % ({_LEARNER_RANKS}) == 0",
            f"${{self.ppo.trainBatchSize}} responses cannot be shared evenly by ${{{_LEARNER_RANKS}}} learners; "
            f"write a multiple of {_LEARNERS}",
            at="ppo.trainBatchSize",
        ),
        Cel(
            "!has(self.selection.scoresFrom) || !self.arms.exists(arm, arm.reuseProbe)",
            "selection.scoresFrom skips the probe, so there is none to reuse; remove one of the two",
            at="arms",
        ),
        Cel(
            "!has(self.selection.scoresFrom) || has(self.training.steps) || self.arms.all(arm, has(arm.steps))",
            "without a probe there is no default number of steps; write one",
            at="training.steps",
        ),
        Cel(
            "!has(self.guards.kl) || self.ppo.klCoefficient > 0.0",
            "with ppo.klCoefficient = 0 there is no reference to be far from; remove this guard or write a coefficient",
            at="guards.kl",
        ),
        Cel(
            "self.tracking.all(one, self.tracking.exists_one(other, other.kind == one.kind))",
            "tracking has a kind twice; keep one of each",
            at="tracking",
        ),
    )

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        problems = [
            *_arm_problems(self),
            *_batch_problems(self),
            *_scores_problems(self),
            *_guard_problems(self),
            *_tracking_problems(self),
        ]
        if isinstance(info.context, list):  # limr.validate goes on, to find what else is wrong
            info.context.extend(f"spec.{problem}" for problem in problems)
        else:
            refuse(problems)
        return self

    def strategy_of(self, arm: Arm) -> Strategy:
        return arm.selection or self.selection


def _arm_problems(spec: Spec) -> list[str]:
    names = [arm.name for arm in spec.arms]
    problems = [
        f"arms: {name!r} stands twice; rename one" for name in dict.fromkeys(n for n in names if names.count(n) > 1)
    ]
    for index, arm in enumerate(spec.arms):
        if arm.name in RESERVED_NAMES:
            problems.append(f"arms[{index}].name: the report has a line {arm.name!r} of its own; rename the arm")
        same_as = arm.size.same_as if arm.size else None
        above = [other.name for other in spec.arms[:index] if not other.reuse_probe]
        if same_as is not None and same_as not in above:
            known = f", or write one of {', '.join(above)}" if above else ""
            problems.append(
                f"arms[{index}].size.sameAs: {same_as!r} is not the name of an arm above this one that selects prompts "
                f"(reuseProbe selects none); put that arm first{known}"
            )
    return problems


def _batch_problems(spec: Spec) -> list[str]:
    ranks = spec.cluster.learner.replicas * spec.cluster.learner.devices
    if spec.ppo.train_batch_size % ranks:
        return [
            f"ppo.trainBatchSize: {spec.ppo.train_batch_size} responses cannot be shared evenly by "
            f"{ranks} learners; write a multiple of {_LEARNERS}"
        ]
    return []


def _scores_problems(spec: Spec) -> list[str]:
    if spec.selection.scores_from is None:
        return []
    problems = [
        f"arms[{i}].reuseProbe: selection.scoresFrom skips the probe, so there is none to reuse; remove one of the two"
        for i, arm in enumerate(spec.arms)
        if arm.reuse_probe
    ]
    if spec.training.steps is None and any(arm.steps is None for arm in spec.arms):
        problems.append("training.steps: without a probe there is no default number of steps; write one")
    return problems


def _guard_problems(spec: Spec) -> list[str]:
    if spec.guards.kl is None or spec.ppo.kl_coefficient > 0:
        return []
    return [
        "guards.kl: with ppo.klCoefficient = 0 there is no reference to be far from; "
        "remove this guard or write a coefficient"
    ]


def _tracking_problems(spec: Spec) -> list[str]:
    kinds = [tracker.kind for tracker in spec.tracking]
    return ["tracking: tracking has a kind twice; keep one of each"] if len(set(kinds)) < len(kinds) else []


class Metadata(BaseModel):
    """Of Kubernetes' ObjectMeta only what limr reads; the rest passes through."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: ExperimentName
    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)] = "default"
    uid: str = ""
    generation: int = 0  # counts the changes of the spec; 0 where nobody counts


class Experiment(Part):
    """One LIMRExperiment, as applied to a cluster or given to `limr run`."""

    api_version: Literal["limr.dev/v1alpha1"] = "limr.dev/v1alpha1"
    kind: Literal["LIMRExperiment"] = "LIMRExperiment"
    metadata: Metadata
    spec: Spec

    @property
    def root(self) -> str:
        """URI of its folder: <storage.uri>/<namespace>/<name>-<first 8 of the uid>; without uid only the name."""
        metadata = self.metadata
        name = f"{metadata.name}-{metadata.uid[:8]}" if metadata.uid else metadata.name
        return f"{self.spec.storage.uri.rstrip('/')}/{metadata.namespace}/{name}"
