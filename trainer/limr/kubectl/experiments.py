"""LIMRExperiments as they are on the cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from limr.crd.definition import GROUP, PLURAL
from limr.errors import LimrError
from limr.kubectl.access import Cluster, Object
from limr.kubectl.errors import NoSuchObject, Unreachable
from limr.plan import StageStatus, Status
from limr.stage import StageKind

RESOURCE = f"{PLURAL}.{GROUP}"
NAMES_SHOWN = 10
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Experiment:
    """A manifest and what its status says."""

    manifest: Object
    status: Status

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def seen(self) -> bool:
        """Whether the status speaks of the spec as it is now."""
        generation: int = self.manifest["metadata"]["generation"]
        return self.status.observed_generation >= generation

    def stage(self, name: str) -> StageStatus:
        """Raises LimrError with the names there are."""
        if name not in self.status.stages:
            raise LimrError(f"{self.name} has no stage {name}; its stages are {listed(list(self.status.stages))}")
        return self.status.stages[name]


def parsed(manifest: Object) -> Experiment:
    try:  # the operator may be newer than this command
        status = Status.model_validate(manifest.get("status") or {}, extra="ignore")
        return Experiment(manifest, status.model_copy(update={"stages": _in_order(status.stages)}))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise LimrError(
            f"{manifest['metadata']['name']}: status.{field} cannot be read ({problem['msg']}); use the limr of the "
            "operator's version"
        ) from None


def find(cluster: Cluster, name: str) -> Experiment:
    """Raises LimrError with the names there are when there is none of this name."""
    try:
        return parsed(cluster.get(RESOURCE, name))
    except NoSuchObject:
        there = cluster.names(RESOURCE)
        raise NoSuchObject(
            f"there is no experiment {name} in namespace {cluster.own_namespace()}; "
            + (f"there are {listed(there)}" if there else "there are none: try --namespace")
        ) from None


def wait(cluster: Cluster, name: str, holds: Callable[[Experiment], bool], seconds: float) -> Experiment:
    """The experiment when `holds`, or as it is after so many seconds; short silences of the API are sat out."""
    deadline = time.monotonic() + seconds
    experiment = find(cluster, name)
    while not holds(experiment) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        try:
            experiment = find(cluster, name)
        except Unreachable:
            if time.monotonic() >= deadline:
                raise
    return experiment


def listed(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _in_order(stages: Mapping[str, StageStatus]) -> dict[str, StageStatus]:
    """As they follow each other; the API gives them by name."""
    kinds = list(StageKind)
    return dict(sorted(stages.items(), key=lambda item: kinds.index(item[1].kind)))
