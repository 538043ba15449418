"""The RayCluster that an experiment's stages share: which one, when an attempt may begin in it, when it goes. Pure.

It is made with an attempt and has that attempt's name. So the next one has another name, and need not wait for a
machine that is lost with the last one. It is used again when nothing of an earlier attempt is left in it, and as long
as it is what the spec asks for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from limr.plan import Child
from limr_operator.observe import has_ended, is_gone
from limr_operator.snapshot import ChildObjects, Object, SharedCluster


@dataclass(frozen=True)
class SharedClusters:
    """Those of one experiment; `digest` is of what its next attempt needs."""

    clusters: Collection[SharedCluster]
    pods: Collection[Object]  # that are, or once were, in one
    digest: str

    def usable(self, now: datetime) -> SharedCluster | None:
        return next((cluster for cluster in self.clusters if self._is_usable(cluster, now)), None)

    def wait_for(self, children: Mapping[Child, ChildObjects], now: datetime) -> str:
        """What an attempt must wait for before it begins, such as "RayJob demo--probe-1 has ended"; "": nothing.

        `children` without that attempt itself.
        """
        for name in _at_work(children, now):
            return f"RayJob {name} has ended"
        for cluster in self.clusters:
            if not self._is_usable(cluster, now) and not is_gone(cluster.body, now):
                return f"RayCluster {cluster.name} is removed"
        for pod in self.pods:
            if "deletionTimestamp" in pod["metadata"] and not is_gone(pod, now):
                return f"Pod {pod['metadata']['name']} is removed"
        return ""

    def superfluous(
        self, children: Mapping[Child, ChildObjects], going: Collection[Child], keep: bool, now: datetime
    ) -> list[SharedCluster]:
        """What is to be removed, now that the children `going` are. A driver ends by itself before its cluster goes."""
        kept = self.usable(now) if keep else None
        staying = {child: objects for child, objects in children.items() if child not in going}
        used = {objects.shared_name for objects in staying.values() if _works(objects, now) and not objects.removing}
        return [
            cluster
            for cluster in self.clusters
            if cluster is not kept and cluster.name not in used and not cluster.removing
        ]

    def _is_usable(self, cluster: SharedCluster, now: datetime) -> bool:
        """KubeRay puts no Pod in the place of one that is on its way out, however long that takes."""
        stuck = any(is_gone(pod, now) for pod in cluster.pods)
        return not cluster.removing and not stuck and cluster.body["digest"] == self.digest


def _at_work(children: Mapping[Child, ChildObjects], now: datetime) -> Iterable[str]:
    for objects in children.values():
        if _works(objects, now):
            assert objects.runner is not None
            yield objects.runner["metadata"]["name"]


def _works(objects: ChildObjects, now: datetime) -> bool:
    """Whether a driver may live: that what it had to say was said does not mean that it ended."""
    runner = objects.runner
    return runner is not None and runner["kind"] == "RayJob" and not has_ended(runner) and not is_gone(runner, now)
