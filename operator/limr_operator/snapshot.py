"""What the watches have delivered of one experiment: all that a decision is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from limr.plan import Child
from limr_operator import names

Object = Mapping[str, Any]

# Of the objects that an experiment owns only these fields are kept: thousands of Pods lie in memory otherwise.
METADATA = ("name", "namespace", "uid", "labels", "ownerReferences", "creationTimestamp", "deletionTimestamp")


@dataclass(frozen=True)
class SharedCluster:
    """A RayCluster in which one attempt works after another."""

    body: Object
    pods: Sequence[Object]

    @classmethod
    def of(cls, body: Object, pods: Iterable[Object]) -> SharedCluster:
        """With those of `pods` that are its own."""
        return cls(body, [pod for pod in pods if is_owned(pod, body["metadata"]["uid"])])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def removing(self) -> bool:
        return "deletionTimestamp" in self.body["metadata"]


@dataclass
class ChildObjects:
    """What there is of one attempt of one stage."""

    runner: Object | None = None  # RayJob or Job
    config_map: Object | None = None
    pods: list[Object] = field(default_factory=list)
    shared: SharedCluster | None = None  # that it works in, if it has no cluster of its own

    def add(self, thing: Object) -> None:
        match thing["kind"]:
            case "Pod":
                self.pods.append(thing)
            case "ConfigMap":
                self.config_map = thing
            case _:
                self.runner = thing

    @property
    def removing(self) -> bool:
        """Whether what runs it was deleted and is on its way out."""
        return self.runner is not None and "deletionTimestamp" in self.runner["metadata"]

    @property
    def shared_name(self) -> str:
        """Of the RayCluster that it is to share; "" where it has its own."""
        return self.runner.get("cluster", "") if self.runner else ""

    @property
    def since(self) -> datetime | None:
        """When what runs it was made: whatever befell a shared Pod before befell another attempt."""
        made = self.runner["metadata"].get("creationTimestamp") if self.runner else None
        return datetime.fromisoformat(made) if made else None

    def share(self, cluster: SharedCluster | None) -> None:
        self.shared = cluster
        self.pods = list(cluster.pods) if cluster else []


@dataclass(frozen=True)
class Snapshot:
    experiment: Object
    objects: Sequence[Object]  # RayJobs, Jobs, RayClusters, ConfigMaps and Pods, as `trimmed` leaves them

    def children(self) -> dict[Child, ChildObjects]:
        """By attempt. Objects that belong to another experiment of the same name, deleted since, are left out."""
        found: dict[Child, ChildObjects] = {}
        for thing in self.objects:
            child = child_of(thing)
            if child is not None and self._owns(thing):
                found.setdefault(child, ChildObjects()).add(thing)
        clusters = {cluster.name: cluster for cluster in self.shared_clusters()}
        for objects in found.values():
            if objects.shared_name:
                objects.share(clusters.get(objects.shared_name))
        return found

    def shared_clusters(self) -> list[SharedCluster]:
        pods = self.shared_pods()
        bodies = [thing for thing in self.objects if thing["kind"] == "RayCluster" and self._owns(thing)]
        return [SharedCluster.of(body, pods) for body in bodies if not child_of(body)]

    def shared_pods(self) -> list[Object]:
        """Also those that another experiment of this name has left."""
        return [thing for thing in self.objects if thing["kind"] == "Pod" and not child_of(thing)]

    def _owns(self, thing: Object) -> bool:
        if thing["kind"] == "Pod":  # owned by what runs it, whose name no other experiment can have
            return True
        return is_owned(thing, self.experiment["metadata"]["uid"])


def is_owned(thing: Object, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in thing["metadata"].get("ownerReferences", ()))


def child_of(thing: Object) -> Child | None:
    labels = thing["metadata"].get("labels", {})
    stage, attempt = labels.get(names.STAGE), labels.get(names.ATTEMPT, "")
    return Child(stage, int(attempt)) if stage and attempt.isdecimal() else None


def trimmed(kind: str, body: Object) -> Object:
    """`body` without what no decision looks at."""
    metadata = {key: body["metadata"][key] for key in METADATA if key in body["metadata"]}
    kept: dict[str, Any] = {"kind": kind, "metadata": metadata}
    if kind == "ConfigMap":
        kept["data"] = dict(body.get("data") or {})
    else:
        kept["status"] = body.get("status") or {}
    if kind in ("RayJob", "RayCluster"):
        kept["suspended"] = bool(body.get("spec", {}).get("suspend"))
    if kind == "RayJob":
        kept["cluster"] = (body.get("spec", {}).get("clusterSelector") or {}).get(names.RAY_CLUSTER, "")
    if kind == "RayCluster":
        kept["digest"] = body["metadata"].get("annotations", {}).get(names.SPEC_DIGEST, "")
    return kept
