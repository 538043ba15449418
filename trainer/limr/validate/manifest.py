"""What the API server could not refuse: an experiment as it is stored on a cluster, checked as its file would be.

It knows structure, bounds and the rules that join fields. Only these are left, to become a condition:
- a strategy that does not exist (which ones do depends on installed packages);
- a parameter that its strategy does not have, or that is no number (CEL cannot see into parameters);
- a null that kubectl has dropped.
An experiment that was stored by an older definition may break any other rule too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from limr.spec import Experiment
from limr.validate.collect import Collector
from limr.validate.mistake import InvalidSpec, Mistake
from limr.validate.rules import rules

# The operator's own; it does not come from a person.
NOT_OURS = frozenset({"status"})

# Client-side `kubectl apply` drops nulls and keeps what was written in this annotation.
WRITTEN = "kubectl.kubernetes.io/last-applied-configuration"
INSTEAD_OF_NULL = {"valueClip": "0", "importanceClip": "[]"}  # fields of ppo whose default is another


def problems(manifest: Mapping[str, Any], strategies: Collection[str] = ()) -> list[str]:
    """A sentence for each mistake, with the path of its field; none: it can run.

    `strategies` are further ones that the trainer's image brings, as far as the caller knows them.
    """
    return [str(mistake) for mistake in _checked(manifest, strategies)[1]]


def from_manifest(manifest: Mapping[str, Any], strategies: Collection[str] = ()) -> Experiment:
    """The experiment. Raises InvalidSpec with what `problems` gives."""
    experiment, mistakes = _checked(manifest, strategies)
    if experiment is None or mistakes:
        name = manifest.get("metadata", {}).get("name", "the experiment")
        raise InvalidSpec(str(name), mistakes)
    return experiment


def _checked(manifest: Mapping[str, Any], strategies: Collection[str]) -> tuple[Experiment | None, list[Mistake]]:
    collector = Collector({name: value for name, value in manifest.items() if name not in NOT_OURS})
    experiment = collector.check()
    if experiment is not None:
        collector.add(rules(experiment, strategies))
    return experiment, [*collector.mistakes, *_dropped_nulls(manifest)]


def _dropped_nulls(manifest: Mapping[str, Any]) -> Iterator[Mistake]:
    """Where a default counts though a person wrote that there be none."""
    annotations = manifest.get("metadata", {}).get("annotations") or {}
    try:
        written = json.loads(annotations[WRITTEN])["spec"]["ppo"]
        stored = manifest["spec"]["ppo"]
    except (KeyError, TypeError, ValueError):
        return
    for field, instead in INSTEAD_OF_NULL.items():
        if field in written and written[field] is None and stored.get(field) is not None:
            message = f"is {stored[field]}, the default, because kubectl apply drops null; write {instead} for none"
            yield Mistake(f"spec.ppo.{field}", message)
