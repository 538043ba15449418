"""Which changes of a spec would make what has been done already part of another experiment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from limr.spec import Experiment, Part, Spec

# May change between two runs; everything else decides what the results are and is fixed once the experiment started.
MUTABLE = (
    "cluster",
    "schedule",
    "limits",
    "ttlSecondsAfterFinished",
    "checkpoint",
    "storage.endpoint",
    "storage.credentialsSecret",
    "storage.serviceAccountName",
    "reward.workers",
)


def immutable_changes(started: Experiment, wanted: Experiment) -> list[str]:
    """Paths of the fields that differ and may not, as a person writes them: spec.ppo.promptsPerStep."""
    before, after = (experiment.model_dump(mode="json", by_alias=True)["spec"] for experiment in (started, wanted))
    changes = _differences(before, after, "")
    return [f"spec.{path}" for path in changes if not any(_within(path, free) for free in MUTABLE)]


def fixed_fields(part: type[Part] = Spec, prefix: str = "") -> Iterator[str]:
    """Paths below spec of the fields that are fixed, each a value by itself: ppo.promptsPerStep, arms."""
    for name, field in part.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        if any(_within(path, free) for free in MUTABLE):
            continue
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Part):
            yield from fixed_fields(inner, f"{path}.")
        else:
            yield path


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


def _within(path: str, part: str) -> bool:
    return path == part or path.startswith(part + ".")
