"""What all objects of one attempt of a stage have in common: names, labels, owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limr.plan import Child, child_name
from limr.stage import StageInput
from limr_operator import names

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One attempt of one stage, on a cluster."""

    stage_input: StageInput

    @property
    def child(self) -> Child:
        return Child(self.stage_input.stage.name, self.stage_input.attempt)

    @property
    def name(self) -> str:
        """Of everything that belongs to this attempt alone."""
        return child_name(self.experiment, self.child)

    @property
    def stage_object(self) -> str:
        """Of everything that all attempts of the stage share; no attempt can have this name."""
        return f"{self.experiment}--{self.stage_input.stage.name}"

    @property
    def experiment(self) -> str:
        return self.stage_input.experiment.metadata.name

    @property
    def namespace(self) -> str:
        return self.stage_input.experiment.metadata.namespace

    @property
    def service_account(self) -> str:
        return self.stage_input.experiment.spec.storage.service_account_name or self.stage_object

    @property
    def stage_labels(self) -> dict[str, str]:
        return {
            names.MANAGED_BY: names.MANAGER,
            names.EXPERIMENT: self.experiment,
            names.STAGE: self.stage_input.stage.name,
        }

    @property
    def labels(self) -> dict[str, str]:
        return {**self.stage_labels, names.ATTEMPT: str(self.stage_input.attempt)}

    def metadata(self, name: str, labels: dict[str, str]) -> Manifest:
        """With the experiment as owner, so that nothing outlives it."""
        metadata = self.stage_input.experiment.metadata
        owner = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": metadata.name,
            "uid": metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        return {"name": name, "namespace": self.namespace, "labels": labels, "ownerReferences": [owner]}
