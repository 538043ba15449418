"""Which nodes a Pod may come to, and which of them it prefers."""

from __future__ import annotations

from limr.spec import LearnerPods, Place, Schedule
from limr_operator.objects.common import Manifest

# Kueue's topology-aware scheduling: its Pods come to one value of this label where they fit, else as near as possible.
KUEUE_TOPOLOGY = "kueue.x-k8s.io/podset-preferred-topology"
NEAREST = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")  # labels that nodes have anyway


def placement(place: Place, labels: dict[str, str]) -> Manifest:
    """The fields of a Pod's spec; `labels` are those of the Pods of its group."""
    affinity = {**_near_each_other(place, labels), **place.affinity}
    wanted = {
        "nodeSelector": place.node_selector,
        "tolerations": place.tolerations,
        "affinity": affinity,
        "topologySpreadConstraints": place.topology_spread,
    }
    return {key: value for key, value in wanted.items() if value}


def topology_annotations(place: Place, schedule: Schedule) -> dict[str, str]:
    if not isinstance(place, LearnerPods) or not (schedule.queue and place.topology_key):
        return {}
    return {KUEUE_TOPOLOGY: place.topology_key}


def _near_each_other(place: Place, labels: dict[str, str]) -> Manifest:
    """Every update goes over the network between learners' Pods, so it should be short. Preferred, not required: a
    training that is slower is better than one that does not begin."""
    if not isinstance(place, LearnerPods) or place.replicas == 1:
        return {}
    keys = (place.topology_key,) if place.topology_key else NEAREST
    terms = [
        {"weight": 100 // number, "podAffinityTerm": {"topologyKey": key, "labelSelector": {"matchLabels": labels}}}
        for number, key in enumerate(keys, start=1)
    ]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
