"""A stage's Ray cluster must have what the spec asks for before actors are made: else they would wait unexplained."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from limr.actors import Watch
from limr.devices import on_a_cluster
from limr.errors import LimrError
from limr.topology import Workers

POLL_SECONDS = 1.0

Resources = Mapping[str, float]  # of one Ray node, by their names


class ResourcesMissing(LimrError):
    """The Ray cluster did not get what the spec asks for in time. Another attempt may find it."""

    reason = "ResourcesMissing"


def wait_for(groups: Sequence[Workers], deadline_seconds: float, watch: Watch) -> None:
    """Waits until the Ray cluster has the Pods of all `groups`; this machine must have their GPUs at once.

    Calls `watch` meanwhile, which may raise to end the wait. Raises ResourcesMissing with what is missing after
    `deadline_seconds`.
    """
    if not on_a_cluster():
        _check_machine(groups, _alive(ray.nodes()))
        return
    started = time.monotonic()
    while shortages := missing_pods(groups, _alive(ray.nodes())):
        watch()
        if time.monotonic() - started >= deadline_seconds:
            raise ResourcesMissing(f"waited {deadline_seconds:g} s for {' and for '.join(shortages)}")
        time.sleep(POLL_SECONDS)


def missing_pods(groups: Sequence[Workers], nodes: Sequence[Resources]) -> list[str]:
    """For each group that lacks Pods, how many of which kind are wanted, and how many are there."""
    found = []
    for group in groups:
        present = sum(_serves(group, node) for node in nodes)
        if present < group.pods:
            gpus = f" with {group.gpus_per_pod} GPU{'s' * (group.gpus_per_pod > 1)} each" if group.gpus_per_pod else ""
            plural = "s" if group.pods > 1 else ""
            are = "is" if present == 1 else "are"
            found.append(f"{group.pods} {group.group} Pod{plural}{gpus}; {present or 'none'} {are} there")
    return found


def _serves(group: Workers, node: Resources) -> bool:
    return node.get(f"limr_{group.group}", 0) >= group.actors_per_pod and node.get("GPU", 0) >= group.gpus_per_pod


def _check_machine(groups: Sequence[Workers], nodes: Sequence[Resources]) -> None:
    wanted = sum(group.pods * group.gpus_per_pod for group in groups)
    present = round(sum(node.get("GPU", 0) for node in nodes))
    if present < wanted:
        raise ResourcesMissing(
            f"learners and engines ask for {wanted} GPUs, and this machine has {present}; write smaller replicas or "
            "gpus for spec.cluster.learner and spec.cluster.rollout"
        )


def _alive(nodes: Sequence[Mapping[str, Any]]) -> list[Resources]:
    return [node["Resources"] for node in nodes if node["Alive"]]
