"""Which changes of a spec would make what has been done already part of another experiment."""

from __future__ import annotations

from typing import Any

from limr.spec import Experiment

# May change between two runs; everything else decides what the results are and is fixed once the experiment started.
MUTABLE = (
    "cluster",
    "ppo.zeroStage",  # where training state lies, as the cluster decides too; results differ by rounding
    "ppo.offloadOptimizer",
    "schedule.queue",
    "schedule.priorityClass",
    "schedule.suspend",
    "schedule.parallelStages",
    "limits",
    "guards",
    "ttlSecondsAfterFinished",
    "checkpoint",
    "tracking",
    "model.tokenSecret",
    "storage.endpoint",
    "storage.caConfigMap",
    "storage.credentialsSecret",
    "storage.serviceAccountName",
    "reward.workers",
)


def immutable_changes(started: Experiment, wanted: Experiment) -> list[str]:
    """Paths of the fields that differ and may not, as a person writes them: spec.ppo.promptsPerStep."""
    before, after = (experiment.model_dump(mode="json", by_alias=True)["spec"] for experiment in (started, wanted))
    changes = _differences(before, after, "")
    return [f"spec.{path}" for path in changes if not may_change(path)]


def may_change(path: str) -> bool:
    """Whether the field at `path` below spec, and all below it, may change once the experiment has started."""
    return any(path == free or path.startswith(f"{free}.") for free in MUTABLE)


def _differences(before: Any, after: Any, path: str) -> list[str]:
    if before == after:
        return []
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [path]
    return [
        change
        for key in sorted(before.keys() | after.keys())
        for change in _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    ]
