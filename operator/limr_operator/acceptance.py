"""What keeps an experiment from going on that its schema could not say, as the condition Accepted with a remedy."""

from __future__ import annotations

from datetime import datetime

from limr.plan import Phase, Status, condition, with_columns
from limr.spec import Experiment, Spec
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
    namespace = experiment.metadata.namespace
    found = [
        finding for kind, name, finding in _named(experiment.spec) if name and not _exists(api, kind, namespace, name)
    ]
    return found if api.serves("RayJob") else [NO_KUBERAY, *found]


def _named(spec: Spec) -> list[tuple[str, str | None, Finding]]:
    """Kind and name of what the spec names, if it does, and what to say when there is none."""
    account, authority = spec.storage.service_account_name, spec.storage.ca_config_map
    priority, queue = spec.schedule.priority_class, spec.schedule.queue
    return [
        (
            "ServiceAccount",
            account,
            Finding(
                "ServiceAccountMissing",
                f"there is no ServiceAccount {account} in this namespace; create it, or correct "
                "spec.storage.serviceAccountName",
            ),
        ),
        (
            "ConfigMap",
            authority,
            Finding(
                "ConfigMapMissing",
                f"there is no ConfigMap {authority} in this namespace; create it with the key ca.crt, or correct "
                "spec.storage.caConfigMap",
            ),
        ),
        (
            "PriorityClass",
            priority,
            Finding(
                "PriorityClassMissing",
                f"there is no PriorityClass {priority}; create it, or correct spec.schedule.priorityClass",
            ),
        ),
        (
            "LocalQueue",
            queue,
            Finding(
                "QueueMissing",
                f"there is no Kueue LocalQueue {queue} in this namespace; create it, install Kueue, or correct "
                "spec.schedule.queue",
            ),
        ),
    ]


def judged(status: Status, before: Status, findings: list[Finding], now: datetime) -> Status:
    """`status` with the condition Accepted as `findings` say."""
    if not findings:
        return status
    message = "; ".join(finding.message for finding in findings)
    accepted = condition(
        *("Accepted", False, findings[0].reason, message),
        before.condition("Accepted"),
        status.observed_generation,
        now,
    )
    others = tuple(other for other in status.conditions if other.type != accepted.type)
    return with_columns(status.model_copy(update={"conditions": (accepted, *others)}))


def refused(before: Status, problems: list[str], generation: int, now: datetime) -> Status:
    """The status of an experiment whose spec cannot be read: what it did before stays as it is."""
    status = before.model_copy(update={"observed_generation": generation})
    return judged(status, before, [Finding("InvalidSpec", "; ".join(problems))], now)


def finished_at(status: Status) -> datetime | None:
    """Since when the experiment has been Complete or Failed; None when it is neither."""
    if status.phase not in FINAL:
        return None
    end = status.condition(status.phase.value)
    return end.last_transition_time if end and end.status == "True" else None


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
