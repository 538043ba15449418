"""The plan at the start of a stage, in its driver, before engines and learners are created."""

from __future__ import annotations

import logging

from limr.sizing.architecture import UnknownArchitecture
from limr.sizing.findings import find, refuse_what_does_not_fit
from limr.sizing.plan import ResourcePlan, make_plan
from limr.sizing.sources import ConfigUnavailable, read_architecture
from limr.sizing.table import lines
from limr.spec import Spec
from limr.topology import DeviceKind

_log = logging.getLogger(__name__)


def plan_stage(spec: Spec, kind: DeviceKind) -> ResourcePlan | None:
    """Logs the plan; None for a model that cannot be planned.

    Raises DoesNotFit for what cannot run, LimrError for a config.json that cannot belong to the model.
    """
    try:
        model = read_architecture(spec)
    except (ConfigUnavailable, UnknownArchitecture) as error:
        _log.warning("%s", error)
        return None
    plan = make_plan(spec, model, kind)
    findings = find(spec, plan)
    for line in lines(spec, plan, findings):
        _log.info("%s", line)
    refuse_what_does_not_fit(findings)
    return plan


def offloads(spec: Spec, plan: ResourcePlan | None) -> bool:
    """Whether the optimizer is kept in host memory; without a plan nothing says that it fits beside the weights."""
    if plan is not None:
        return plan.learners.offload
    return spec.ppo.offload_optimizer is not False
