"""What the API server could not refuse: an experiment as it is stored on a cluster, checked as its file would be.

It knows structure, bounds and the rules that join fields. Only these are left, to become a condition:
- a strategy that does not exist (which ones do depends on installed packages);
- a parameter that its strategy does not have, or that is no number (CEL cannot see into parameters).
An experiment that was stored by an older definition may break any other rule too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from limr.spec import Experiment
from limr.validate.collect import Collector
from limr.validate.mistake import InvalidSpec, Mistake
from limr.validate.rules import rules

# The operator's own; it does not come from a person.
NOT_OURS = frozenset({"status"})


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
    return experiment, collector.mistakes
