"""What should exist next, from the spec and what was seen: pure, so the same for `limr run` and for the operator.

    plan(experiment, status, observations, now, root=...) -> Plan

The caller observes, plans, stores the status, then makes the world look like the plan, and does so again whenever
something changed or `wake_at` has come. Nothing else is remembered anywhere.
"""

from limr.plan.columns import with_columns
from limr.plan.decide import Plan, plan, renewed
from limr.plan.graph import MAX_ATTEMPTS, Child, Stage, child_name, graph
from limr.plan.guards import is_held
from limr.plan.immutable import immutable_changes, may_change
from limr.plan.observation import Died, Finished, Observation, Running, Waiting
from limr.plan.phase import TRAINING_DID_HARM, condition
from limr.plan.retry import retry_request, with_retry
from limr.plan.status import ACTIVE, Condition, EndedAttempt, Phase, StageState, StageStatus, Status

__all__ = [
    "ACTIVE",
    "MAX_ATTEMPTS",
    "TRAINING_DID_HARM",
    "Child",
    "Condition",
    "Died",
    "EndedAttempt",
    "Finished",
    "Observation",
    "Phase",
    "Plan",
    "Running",
    "Stage",
    "StageState",
    "StageStatus",
    "Status",
    "Waiting",
    "child_name",
    "condition",
    "graph",
    "immutable_changes",
    "is_held",
    "may_change",
    "plan",
    "renewed",
    "retry_request",
    "with_columns",
    "with_retry",
]
