"""What kopf watches. Every event wakes its experiment, and what the watches have delivered is kept here.

kopf's own indices are not used: it lets all objects of a start wait for each other, in time that grows with the square
of their number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Set
from typing import Any

import kopf

from limr_operator import names
from limr_operator.api import KINDS
from limr_operator.snapshot import Object, Snapshot, trimmed

Key = tuple[str, str]  # namespace, name of the experiment
Kept = dict[Key, dict[str, Any]]  # by uid

CHILDREN = ("RayJob", "Job", "RayCluster", "ConfigMap", "Pod")
LEASE = "Lease"
# What the operator's own writes bring about comes as several events, which one look answers.
SETTLE_SECONDS = 0.2


def watch_only_ours(settings: kopf.OperatorSettings, lease_namespace: str, lease_name: str) -> None:
    """The API server sends only what an operator of ours has made, not every Pod of the cluster."""
    for kind in CHILDREN:
        settings.watching.label_selectors[_resource(kind)] = selector(kind)
    own = f"metadata.namespace={lease_namespace},metadata.name={lease_name}"
    settings.watching.field_selectors[_resource(LEASE)] = own


def selector(kind: str) -> str:
    """Of RayClusters only those that stages share: the others are KubeRay's, with the labels of their RayJobs."""
    return names.SHARED if kind == "RayCluster" else names.OURS


def _resource(kind: str) -> tuple[str, str, str]:
    known = KINDS[kind]
    return known.group, known.version, known.plural


class NoDifferences(kopf.DiffBaseStorage):  # type: ignore[misc]  # kopf's are untyped here
    """For kopf's handlers of changes, of which there are none here: it would copy each object to compare it."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass


class Watches:
    """Registers its handlers with `registry` and answers with what they have seen. For one event loop."""

    def __init__(
        self, registry: kopf.OperatorRegistry, wake: Callable[[Key, float], None], on_lease: Callable[[Object], None]
    ) -> None:
        """`wake` is called with seconds to wait, `on_lease` with each change of the Lease: the proof that watches
        deliver."""
        self._wake = wake
        self._on_lease = on_lease
        # By uid, since one that was deleted and its successor may be delivered in any order. Experiments are kept as
        # text, which takes a tenth of the memory of their parts.
        self._experiments: dict[Key, dict[str, str]] = {}
        self._children: dict[Key, dict[str, Object]] = {}
        kopf.on.event(*_resource(names.KIND), id=names.KIND, registry=registry)(self._on_experiment)
        for kind in CHILDREN:
            kopf.on.event(*_resource(kind), id=kind, param=kind, registry=registry)(self._on_child)
        kopf.on.event(*_resource(LEASE), id=LEASE, registry=registry)(self._on_lease_event)

    def snapshot(self, key: Key) -> Snapshot | None:
        """None when there is no such experiment (any more)."""
        found = self._experiments.get(key)
        if not found:
            return None
        return Snapshot(json.loads(_newest(found)), list(self._children.get(key, {}).values()))

    def uids(self) -> set[str]:
        """Of all that is kept."""
        return {uid for kept in self._everything() for there in kept.values() for uid in there}

    def forget(self, uids: Set[str]) -> None:
        """These are gone, though no watch said so: it was away when they went."""
        for kept in self._everything():
            for key, there in list(kept.items()):
                for uid in uids & there.keys():
                    _drop(kept, key, uid)

    def _everything(self) -> tuple[Kept, Kept]:
        return self._experiments, self._children

    def experiments(self) -> Iterator[Object]:
        """As they are now; the work of reading them is done as the iterator goes, in whatever thread."""
        texts = [_newest(found) for found in self._experiments.values()]
        return map(json.loads, texts)

    def __iter__(self) -> Iterator[Key]:
        """The experiments there are."""
        return iter(list(self._experiments))

    async def _on_experiment(self, type: str | None, body: kopf.Body, namespace: str, name: str, **_: Any) -> None:
        key = namespace, name
        self._keep(self._experiments, key, body, None if type == "DELETED" else _text(body))
        seen = body.status.get("observedGeneration") == body.metadata["generation"]
        self._wake(key, SETTLE_SECONDS if seen else 0.0)

    async def _on_child(self, type: str | None, body: kopf.Body, namespace: str, param: str, **_: Any) -> None:
        key = namespace, body.metadata.labels.get(names.EXPERIMENT, "")  # "": no experiment's
        self._keep(self._children, key, body, None if type == "DELETED" else trimmed(param, body))
        self._wake(key, SETTLE_SECONDS)

    async def _on_lease_event(self, body: kopf.Body, **_: Any) -> None:
        self._on_lease(body)

    def _keep(self, kept: Kept, key: Key, body: kopf.Body, thing: Any) -> None:
        """None: not any more."""
        uid = body.metadata["uid"]
        if thing is None:
            _drop(kept, key, uid)
        else:
            kept.setdefault(key, {})[uid] = thing


def _newest(found: dict[str, str]) -> str:
    return next(reversed(found.values()))


def _drop(kept: Kept, key: Key, uid: str) -> None:
    there = kept.get(key, {})
    there.pop(uid, None)
    if not there:
        kept.pop(key, None)


def _text(body: kopf.Body) -> str:
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return json.dumps({**body, "metadata": metadata})
