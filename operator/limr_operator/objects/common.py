"""What the objects of an experiment have in common: names, labels, owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limr.plan import Child, child_name
from limr.plan.graph import ENGINE_KINDS
from limr.spec import Experiment
from limr.stage import StageInput
from limr_operator import names

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Workplace:
    """Where stages work: Pods for one attempt, or those of the RayCluster that an experiment's stages share."""

    experiment: Experiment
    name: str  # of what outlives an attempt there: ServiceAccount, Role, NetworkPolicy
    labels: dict[str, str]  # of the same
    pod_labels: dict[str, str]
    pod_selector: Manifest  # of all Pods that may speak with each other

    @property
    def namespace(self) -> str:
        return self.experiment.metadata.namespace

    @property
    def service_account(self) -> str:
        return self.experiment.spec.storage.service_account_name or self.name

    def metadata(self, name: str, labels: dict[str, str]) -> Manifest:
        """With the experiment as owner, so that nothing outlives it."""
        metadata = self.experiment.metadata
        owner = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": metadata.name,
            "uid": metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        return {"name": name, "namespace": self.namespace, "labels": labels, "ownerReferences": [owner]}


def shared_workplace(experiment: Experiment) -> Workplace:
    """Its Pods serve one attempt after another, so they have no label of a stage; no stage has this name."""
    labels = _labels(experiment)
    not_of_a_stage = {"key": names.STAGE, "operator": "DoesNotExist"}
    selector = {"matchLabels": labels, "matchExpressions": [not_of_a_stage]}
    return Workplace(experiment, f"{experiment.metadata.name}--cluster", labels, labels, selector)


@dataclass(frozen=True)
class Attempt:
    """One attempt of one stage, on a cluster."""

    stage_input: StageInput
    shared_cluster: str = ""  # where stages share one, the RayCluster that is there; empty: it is to be made

    @property
    def child(self) -> Child:
        return Child(self.stage_input.stage.name, self.stage_input.attempt)

    @property
    def name(self) -> str:
        """Of everything that is made for this attempt; no two objects of one kind."""
        return child_name(self.experiment.metadata.name, self.child)

    @property
    def experiment(self) -> Experiment:
        return self.stage_input.experiment

    @property
    def runs_on_ray(self) -> bool:
        return self.stage_input.stage.kind in ENGINE_KINDS

    @property
    def shares(self) -> bool:
        return self.runs_on_ray and self.experiment.spec.schedule.reuse_cluster

    @property
    def workplace(self) -> Workplace:
        if self.shares:
            return shared_workplace(self.experiment)
        stage = self.stage_input.stage.name
        labels = {**_labels(self.experiment), names.STAGE: stage}
        # No attempt can have this name.
        name = f"{self.experiment.metadata.name}--{stage}"
        return Workplace(self.experiment, name, labels, self.labels, {"matchLabels": labels})

    @property
    def labels(self) -> dict[str, str]:
        stage = self.stage_input
        return {**_labels(self.experiment), names.STAGE: stage.stage.name, names.ATTEMPT: str(stage.attempt)}


def _labels(experiment: Experiment) -> dict[str, str]:
    return {names.MANAGED_BY: names.MANAGER, names.EXPERIMENT: experiment.metadata.name}
