"""The Kubernetes objects of an experiment, as manifests. Pure: nothing here talks to a cluster."""

from __future__ import annotations

from limr_operator.objects import access, jobs
from limr_operator.objects.cluster import ray_cluster, spec_digest
from limr_operator.objects.common import Attempt, Manifest
from limr_operator.objects.pod import Defaults

__all__ = ["Attempt", "Defaults", "Manifest", "manifests", "spec_digest"]


def manifests(attempt: Attempt, defaults: Defaults) -> list[Manifest]:
    """Everything that an attempt needs, in the order in which it is made; what runs it comes last."""
    place = attempt.workplace
    own_account = attempt.experiment.spec.storage.service_account_name is None
    return [
        *([access.service_account(place)] if own_account else []),
        access.role(place, attempt.name),
        access.role_binding(place),
        access.network_policy(place),
        access.config_map(attempt),
        *([ray_cluster(place, attempt.name, defaults)] if attempt.shares and not attempt.shared_cluster else []),
        jobs.runner(attempt, defaults),
    ]
