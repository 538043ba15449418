"""What the watches have delivered of one experiment: all that a decision is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limr.plan import Child
from limr_operator import names

Object = Mapping[str, Any]

# Of the objects that an experiment owns only these fields are kept: thousands of Pods lie in memory otherwise.
METADATA = ("name", "namespace", "uid", "labels", "ownerReferences", "deletionTimestamp")


@dataclass
class ChildObjects:
    """What there is of one attempt of one stage."""

    runner: Object | None = None  # RayJob or Job
    config_map: Object | None = None
    pods: list[Object] = field(default_factory=list)

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


@dataclass(frozen=True)
class Snapshot:
    experiment: Object
    objects: Sequence[Object]  # RayJobs, Jobs, ConfigMaps and Pods, as `trimmed` leaves them

    def children(self) -> dict[Child, ChildObjects]:
        """By attempt. Objects that belong to another experiment of the same name, deleted since, are left out."""
        found: dict[Child, ChildObjects] = {}
        for thing in self.objects:
            child = child_of(thing)
            if child is not None and self._owns(thing):
                found.setdefault(child, ChildObjects()).add(thing)
        return found

    def _owns(self, thing: Object) -> bool:
        if thing["kind"] == "Pod":  # owned by what runs it, whose name no other experiment can have
            return True
        owners = thing["metadata"].get("ownerReferences", ())
        return any(owner["uid"] == self.experiment["metadata"]["uid"] for owner in owners)


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
    if kind == "RayJob":
        kept["suspended"] = bool(body.get("spec", {}).get("suspend"))
    return kept
