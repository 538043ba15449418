"""What keeps an experiment from going on that its schema could not say, as the condition Accepted with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from limr.plan import Condition, Phase, Status
from limr.plan.columns import with_columns
from limr.spec import Experiment
from limr_operator.api import Api, ApiError, NotFound
from limr_operator.diagnose import Finding

NO_KUBERAY = Finding(
    "KubeRayMissing",
    "KubeRay is not installed: there is no kind RayJob, which stages with engines are; install KubeRay 1.6 or newer",
)
RECHECK_SECONDS = 15.0  # what is missing is not watched; how soon it is noticed when it was made
FINAL = (Phase.COMPLETE, Phase.FAILED)


def missing(experiment: Experiment, api: Api) -> list[Finding]:
    """What the spec names and the cluster does not have. Secrets are not among it: the operator may not read them, and
    a Pod that lacks one is diagnosed within seconds."""
    spec, namespace = experiment.spec, experiment.metadata.namespace
    storage, schedule = spec.storage, spec.schedule
    checks: list[tuple[str, str | None, Callable[[str], Finding]]] = [
        ("ServiceAccount", storage.service_account_name, _no_service_account),
        ("ConfigMap", storage.ca_config_map, _no_config_map),
        ("PriorityClass", schedule.priority_class, _no_priority_class),
        ("LocalQueue", schedule.queue, _no_queue),
    ]
    found = [say(name) for kind, name, say in checks if name and not _exists(api, kind, namespace, name)]
    return found if api.serves("RayJob") else [NO_KUBERAY, *found]


def judged(status: Status, before: Status, findings: list[Finding], now: datetime) -> Status:
    """`status` with the condition Accepted as `findings` say."""
    if not findings:
        return status
    message = "; ".join(finding.message for finding in findings)
    accepted = _condition(before, findings[0].reason, message, status.observed_generation, now)
    others = tuple(condition for condition in status.conditions if condition.type != accepted.type)
    return with_columns(status.model_copy(update={"conditions": (accepted, *others)}))


def refused(before: Status, problems: list[str], generation: int, now: datetime) -> Status:
    """The status of an experiment whose spec cannot be read: what it did before stays as it is."""
    status = before.model_copy(update={"observed_generation": generation})
    return judged(status, before, [Finding("InvalidSpec", "; ".join(problems))], now)


def finished_at(status: Status) -> datetime | None:
    """Since when the experiment has been Complete or Failed; None when it is neither."""
    if status.phase not in FINAL:
        return None
    return next(
        (
            condition.last_transition_time
            for condition in status.conditions
            if condition.type == status.phase.value and condition.status == "True"
        ),
        None,
    )


def _condition(before: Status, reason: str, message: str, generation: int, now: datetime) -> Condition:
    old = next((condition for condition in before.conditions if condition.type == "Accepted"), None)
    since = old.last_transition_time if old and old.status == "False" else now
    return Condition(
        type="Accepted",
        status="False",
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )


def _exists(api: Api, kind: str, namespace: str, name: str) -> bool:
    """True also where the operator may not look: then Kubernetes says it, when the Pods are made."""
    try:
        api.get(kind, namespace, name)
    except NotFound:
        return False
    except ApiError as error:
        if error.status != 403:
            raise
    return True


def _no_service_account(name: str) -> Finding:
    return Finding(
        "ServiceAccountMissing",
        f"there is no ServiceAccount {name} in this namespace; create it, or correct spec.storage.serviceAccountName",
    )


def _no_config_map(name: str) -> Finding:
    return Finding(
        "ConfigMapMissing",
        f"there is no ConfigMap {name} in this namespace; create it with the key ca.crt, or correct "
        "spec.storage.caConfigMap",
    )


def _no_priority_class(name: str) -> Finding:
    return Finding(
        "PriorityClassMissing",
        f"there is no PriorityClass {name}; create it, or correct spec.schedule.priorityClass",
    )


def _no_queue(name: str) -> Finding:
    return Finding(
        "QueueMissing",
        f"there is no Kueue LocalQueue {name} in this namespace; create it, install Kueue, or correct "
        "spec.schedule.queue",
    )
