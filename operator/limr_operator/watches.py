"""What kopf watches. Every event only wakes its experiment; kopf's indices keep what the watches have delivered.

kopf calls no handler before all indices have been filled once, so the first decision after a start already sees every
child that exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import kopf

from limr_operator import names
from limr_operator.api import KINDS
from limr_operator.snapshot import Object, Snapshot, trimmed

Key = tuple[str, str]  # namespace, name of the experiment

CHILDREN = ("RayJob", "Job", "ConfigMap", "Pod")
LEASE = "Lease"


def watch_only_ours(settings: kopf.OperatorSettings) -> None:
    """The API server sends only what an operator of ours has made, not every Pod of the cluster."""
    for kind in (*CHILDREN, LEASE):
        settings.watching.label_selectors[_resource(kind)] = names.OURS


def _resource(kind: str) -> tuple[str, str, str]:
    known = KINDS[kind]
    return known.group, known.version, known.plural


class Watches:
    """Registers its handlers with `registry` and answers with what they have seen."""

    def __init__(
        self, registry: kopf.OperatorRegistry, wake: Callable[[Key], None], on_lease: Callable[[Object], None]
    ) -> None:
        """`on_lease` is called with each change of an operator's Lease: the proof that watches deliver."""
        self._wake = wake
        self._on_lease = on_lease
        self._indices: Mapping[str, kopf.Index[Key, Object]] = {}
        kopf.index(*_resource(names.KIND), id=names.KIND, registry=registry)(_experiment)
        kopf.on.event(*_resource(names.KIND), id=names.KIND, registry=registry)(self._on_experiment)
        for kind in CHILDREN:
            kopf.index(*_resource(kind), id=kind, registry=registry)(_child(kind))
            kopf.on.event(*_resource(kind), id=kind, registry=registry)(self._on_child)
        kopf.on.event(*_resource(LEASE), id=LEASE, registry=registry)(self._on_lease_event)

    def snapshot(self, key: Key) -> Snapshot | None:
        """None when there is no such experiment (any more)."""
        found = list(self._indices.get(names.KIND, {}).get(key, ()))
        if not found:
            return None
        return Snapshot(found[0], [thing for kind in CHILDREN for thing in self._indices[kind].get(key, ())])

    def experiments(self) -> list[Object]:
        return [found for key in self for found in self._indices[names.KIND].get(key, ())]

    def __iter__(self) -> Iterator[Key]:
        """The experiments there are."""
        return iter(list(self._indices.get(names.KIND, {})))

    async def _on_experiment(self, namespace: str, name: str, **others: Any) -> None:
        self._remember(others)
        self._wake((namespace, name))

    async def _on_child(self, body: kopf.Body, namespace: str, **others: Any) -> None:
        self._remember(others)
        labels = body.metadata.labels
        if names.EXPERIMENT in labels:
            self._wake((namespace, labels[names.EXPERIMENT]))

    async def _on_lease_event(self, body: kopf.Body, **others: Any) -> None:
        self._on_lease(body)

    def _remember(self, arguments: Mapping[str, Any]) -> None:
        if not self._indices:
            self._indices = {kind: arguments[kind] for kind in (names.KIND, *CHILDREN)}


def _experiment(body: kopf.Body, namespace: str, name: str, **_: Any) -> dict[Key, Object]:
    raw = dict(body)
    raw["metadata"] = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
    return {(namespace, name): raw}


def _child(kind: str) -> Callable[..., dict[Key, Object]]:
    def index(body: kopf.Body, namespace: str, **_: Any) -> dict[Key, Object]:
        experiment = body.metadata.labels.get(names.EXPERIMENT)
        return {(namespace, experiment): trimmed(kind, body)} if experiment else {}

    return index
