"""How many learner ranks and engines a cluster's spec means, and which devices each of them works on. Pure.

What is reserved for a worker group is what works and what is charged: pods × actors in a Pod × devices of an actor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from limr.spec import Cluster, LearnerPods, RolloutPods


class DeviceKind(StrEnum):
    CUDA = "cuda"
    CPU = "cpu"


@dataclass(frozen=True)
class Workers:
    """The Ray actors of one worker group: learner ranks, or engines."""

    group: str  # learner or rollout
    kind: DeviceKind
    pods: int  # on a laptop there are none, but as many actors
    actors_per_pod: int
    devices_per_actor: int  # GPUs, or processes where there are none
    cpus_per_pod: float

    @property
    def actors(self) -> int:
        return self.pods * self.actors_per_pod

    @property
    def gpus_per_pod(self) -> int:
        return self.actors_per_pod * self.devices_per_actor if self.kind is DeviceKind.CUDA else 0

    @property
    def devices(self) -> int:
        """All that the group holds while it runs."""
        return self.actors * self.devices_per_actor


def asked_kind(cluster: Cluster) -> DeviceKind:
    """The kind of device that the spec asks for: learners and engines have the same."""
    return DeviceKind.CUDA if cluster.learner.gpus else DeviceKind.CPU


def learners(pods: LearnerPods, kind: DeviceKind) -> Workers:
    """One rank on each device."""
    return Workers("learner", kind, pods.replicas, _devices_per_pod(pods, kind), 1, pods.cpus)


def engines(pods: RolloutPods, kind: DeviceKind) -> Workers:
    """One engine on each `tensorParallel` devices."""
    # A spec for GPUs that is tried on a laptop has one process for each Pod, so one for each engine.
    parallel = pods.tensor_parallel if kind is DeviceKind.CUDA or not pods.gpus else 1
    return Workers("rollout", kind, pods.replicas, _devices_per_pod(pods, kind) // parallel, parallel, pods.cpus)


def _devices_per_pod(pods: LearnerPods | RolloutPods, kind: DeviceKind) -> int:
    return pods.gpus if kind is DeviceKind.CUDA else pods.processes


@dataclass(frozen=True)
class Rank:
    """A learner's place among all, and among those of its machine."""

    number: int
    total: int
    local_number: int
    local_total: int


def ranks(machines: Sequence[str]) -> list[Rank]:
    """The rank of the learner on each of `machines`, in their order; ranks of one machine are consecutive.

    NCCL builds its rings, and ZeRO its groups, from neighbours in this order.
    """
    counts = {machine: machines.count(machine) for machine in machines}
    order = list(counts)  # by first appearance, so that the same machines give the same ranks
    first = {machine: sum(counts[other] for other in order[:index]) for index, machine in enumerate(order)}
    placed = dict.fromkeys(order, 0)
    found = []
    for machine in machines:
        local = placed[machine]
        placed[machine] += 1
        found.append(Rank(first[machine] + local, len(machines), local, counts[machine]))
    return found
