"""What one stage is to a tracker: a run, with an identity that all of its attempts share."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from limr.spec import Experiment
from limr.stage import StageRef
from limr.store.base import Conflict, Store
from limr.store.layout import RUN_ID, in_stage

# Decides no result; among it are Pod templates, which may hold secrets.
NO_CONFIG = {"storage", "schedule", "limits", "guards", "tracking", "cluster", "ttl_seconds_after_finished"}


@dataclass(frozen=True)
class Run:
    id: str  # no other stage has it, wherever it runs; its attempts share it
    name: str
    group: str
    kind: str
    tags: Mapping[str, str]
    config: Mapping[str, Any]


def run_of(experiment: Experiment, stage: StageRef, store: Store) -> Run:
    """The run of a stage whose experiment lies in `store`. Raises StoreError."""
    metadata = experiment.metadata
    tags = {"namespace": metadata.namespace, "experiment": metadata.name, "stage": stage.name, "kind": stage.kind.value}
    tags |= {} if stage.arm is None else {"arm": stage.arm}
    tags |= {} if stage.seed is None else {"seed": str(stage.seed)}
    return Run(
        id=f"{metadata.name}-{stage.name}-{_token(store, stage.name)}",
        name=f"{metadata.name}/{stage.name}",
        group=metadata.name,
        kind=stage.kind.value,
        tags=tags,
        config=config(experiment),
    )


def config(experiment: Experiment) -> dict[str, Any]:
    """Of the spec what decides the results, and how many devices worked."""
    spec = experiment.spec
    groups = {"learner": spec.cluster.learner, "rollout": spec.cluster.rollout}
    devices = {name: pods.replicas * pods.devices for name, pods in groups.items()}
    return {**spec.model_dump(mode="json", by_alias=True, exclude=NO_CONFIG, exclude_none=True), "devices": devices}


def flat(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as texts, by paths such as ppo.clipLow."""
    for name, value in part.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _token(store: Store, stage: str) -> str:
    """Kept with the stage: who removes its folder and begins anew gets another run."""
    path = in_stage(stage, RUN_ID)
    try:
        token = uuid.uuid4().hex[:8]
        store.put(path, token.encode(), if_absent=True)
    except Conflict:
        token = store.get(path).decode()
    return token
