"""Which shared cluster is used, what an attempt waits for before it begins in it, and when it goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.plan import Child
from limr_operator.observe import REMOVAL_SECONDS, has_ended
from limr_operator.shared_cluster import SharedClusters
from limr_operator.snapshot import ChildObjects, SharedCluster

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIRST, SECOND = Child("probe", 1), Child("probe", 2)
Removal = float | None  # for how many seconds it has been on its way out


def metadata(name: str, removal: Removal) -> dict[str, Any]:
    since = {} if removal is None else {"deletionTimestamp": (NOW - timedelta(seconds=removal)).isoformat()}
    return {"name": name, **since}


def pod(removal: Removal = None) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": metadata("head", removal)}


def cluster(*pods: Any, name: str = "c1", digest: str = "now", removal: Removal = None) -> SharedCluster:
    return SharedCluster({"kind": "RayCluster", "metadata": metadata(name, removal), "digest": digest}, pods or [pod()])


def ray_job(state: str = "Running", name: str = "c1", removal: Removal = None) -> ChildObjects:
    status = {"jobDeploymentStatus": state}
    return ChildObjects({"kind": "RayJob", "metadata": metadata("j1", removal), "status": status, "cluster": name})


def shared(*clusters: SharedCluster) -> SharedClusters:
    return SharedClusters(clusters, [pod for one in clusters for pod in one.pods], "now")


LONG = REMOVAL_SECONDS + 1.0


@pytest.mark.parametrize(
    ("clusters", "children", "expected"),
    [
        (shared(), {}, ""),
        (shared(cluster()), {}, ""),
        (shared(cluster()), {FIRST: ray_job("Complete")}, ""),
        (shared(cluster()), {FIRST: ray_job("Failed")}, ""),
        (shared(cluster()), {FIRST: ray_job()}, "RayJob j1 has ended"),
        (shared(cluster()), {FIRST: ray_job(removal=1)}, "RayJob j1 has ended"),
        (shared(cluster()), {FIRST: ray_job(removal=LONG)}, ""),
        (shared(cluster()), {FIRST: ChildObjects()}, ""),
        (shared(cluster(removal=1)), {}, "RayCluster c1 is removed"),
        (shared(cluster(removal=LONG)), {}, ""),
        (shared(cluster(digest="before")), {}, "RayCluster c1 is removed"),
        (shared(cluster(pod(), pod(removal=1))), {}, "Pod head is removed"),
        (shared(cluster(pod(), pod(removal=LONG))), {}, "RayCluster c1 is removed"),
        (SharedClusters([], [pod(removal=1)], "now"), {}, "Pod head is removed"),
    ],
)
def test_what_an_attempt_waits_for(clusters: SharedClusters, children: Any, expected: str) -> None:
    assert clusters.wait_for(children, NOW) == expected


@pytest.mark.parametrize(
    ("one", "keep", "children", "going", "goes"),
    [
        (cluster(), True, {}, (), False),
        (cluster(), False, {}, (), True),
        (cluster(digest="before"), True, {}, (), True),
        (cluster(digest="before"), True, {FIRST: ray_job()}, (), False),
        (cluster(pod(removal=LONG)), True, {}, (), True),
        (cluster(removal=1), False, {}, (), False),  # it goes already
        (cluster(), False, {FIRST: ray_job()}, (), False),  # its driver is about to end
        (cluster(), False, {FIRST: ray_job("Complete")}, (), True),
        (cluster(), False, {FIRST: ray_job()}, {FIRST}, True),
        (cluster(), False, {FIRST: ray_job(removal=1)}, (), True),
        (cluster(), False, {FIRST: ray_job(name="another")}, (), True),
    ],
)
def test_when_a_cluster_goes(one: SharedCluster, keep: bool, children: Any, going: Any, goes: bool) -> None:
    assert shared(one).superfluous(children, going, keep, NOW) == ([one] if goes else [])


removals = st.sampled_from([None, 1.0, LONG])
digests = st.sampled_from(["now", "before"])
pods = st.lists(removals.map(pod), min_size=1, max_size=2)
jobs = st.builds(
    ray_job, st.sampled_from(["", "Running", "Complete", "Failed"]), st.sampled_from(["c0", "c1"]), removals
)


@given(
    found=st.lists(st.tuples(pods, digests, removals), max_size=2),
    children=st.dictionaries(st.sampled_from([FIRST, SECOND]), jobs),
    going=st.sets(st.sampled_from([FIRST, SECOND])),
    keep=st.booleans(),
)
def test_no_cluster_goes_under_a_driver_and_no_attempt_begins_beside_one(
    found: Any, children: dict[Child, ChildObjects], going: set[Child], keep: bool
) -> None:
    clusters = [
        cluster(*own, name=f"c{i}", digest=digest, removal=removal) for i, (own, digest, removal) in enumerate(found)
    ]
    every = shared(*clusters)
    gone = every.superfluous(children, going, keep, NOW)
    drivers = {child: objects for child, objects in children.items() if not has_ended(objects.runner or {})}
    staying = {objects.shared_name for child, objects in drivers.items() if child not in going and not objects.removing}
    assert not staying & {one.name for one in gone}
    if not keep:
        assert all(one in gone or one.removing for one in clusters if one.name not in staying)
    if not every.wait_for(children, NOW):
        assert all(objects.removing for objects in drivers.values())
        used = every.usable(NOW)
        assert used is None or not any("deletionTimestamp" in one["metadata"] for one in used.pods)
