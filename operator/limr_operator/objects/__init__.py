"""The Kubernetes objects of an experiment, as manifests. Pure: nothing here talks to a cluster."""

from __future__ import annotations

from limr_operator.objects import access, jobs
from limr_operator.objects.common import Attempt, Manifest
from limr_operator.objects.pod import Defaults

__all__ = ["Attempt", "Defaults", "Manifest", "manifests"]


def manifests(attempt: Attempt, defaults: Defaults) -> list[Manifest]:
    """Everything that an attempt needs, in the order in which it is made; what runs it comes last."""
    own_account = attempt.stage_input.experiment.spec.storage.service_account_name is None
    return [
        *([access.service_account(attempt)] if own_account else []),
        access.role(attempt),
        access.role_binding(attempt),
        access.network_policy(attempt),
        access.config_map(attempt),
        jobs.runner(attempt, defaults),
    ]
