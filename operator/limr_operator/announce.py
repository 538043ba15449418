"""Events: what changed between two statuses, for `kubectl describe` and whoever collects them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from limr.plan import ACTIVE, Child, EndedAttempt, StageState, StageStatus, Status
from limr.plan.retry import ANNOTATION, EVERY, requested_stage
from limr.spec import Experiment
from limr_operator import names
from limr_operator.api import Api, ApiError, micro_time

LONGEST_MESSAGE = 1000  # the API takes 1,024 bytes

_log = logging.getLogger(__name__)


class News(NamedTuple):
    reason: str
    message: str
    warning: bool = False
    child: Child | None = None  # the attempt that it is about

    @property
    def about(self) -> dict[str, object]:
        return {"stage": self.child.stage, "attempt": self.child.attempt} if self.child else {}


def announce(experiment: Experiment, before: Status, after: Status, api: Api) -> None:
    """An event for each change. They inform people only, so one that cannot be written is worth a log line."""
    for news in changes(before, after):
        _log.info("%s: %s", news.reason, news.message, extra={"reason": news.reason, **news.about})
        try:
            api.create(_event(experiment, news))
        except ApiError as error:
            _log.warning("an event was not written: %s", error)


def changes(before: Status, after: Status) -> Iterator[News]:
    for name, stage in after.stages.items():
        old = before.stages.get(name) or StageStatus(kind=stage.kind)
        yield from _of_stage(name, old, stage)
    if after.retried != before.retried:
        yield _fresh_tries(after)
    was, accepted = before.condition("Accepted"), after.condition("Accepted")
    same = was and accepted and (was.status, was.reason) == (accepted.status, accepted.reason)
    if accepted and accepted.status == "False" and not same:
        yield News(accepted.reason, accepted.message, warning=True)
    if before.phase is not after.phase:
        yield News(after.phase.value, f"the experiment is {after.phase.value}", warning=after.phase.value == "Failed")


def _of_stage(name: str, old: StageStatus, new: StageStatus) -> Iterator[News]:
    if new.attempt > old.attempt:
        if new.previous and old.state in ACTIVE:  # ended and tried again at once
            yield _retry(name, new.previous, old, new)
        yield _news("StageStarting", Child(name, new.attempt))
    if new.state is old.state and (new.reason, new.message) == (old.reason, old.message):
        return
    child, why = Child(name, new.attempt), f"{new.reason}: {new.message}"
    match new.state:
        case StageState.RUNNING:
            yield _news("StageRunning", child)
        case StageState.SUCCEEDED:
            yield _news("StageSucceeded", child, new.message or "done")
        case StageState.FAILED:
            yield _news("StageFailed", child, why, warning=True)
        case StageState.PENDING if new.retry_at:
            ended = EndedAttempt(attempt=new.attempt, reason=new.reason, message=new.message)
            yield _retry(name, ended, old, new)
        # That its Pods are being started follows from StageStarting.
        case StageState.QUEUED if new.reason != old.reason and not new.reason.endswith("Starting"):
            yield _news("StageWaiting", child, why)
        case StageState.STOPPING | StageState.TERMINATING:
            yield _news("StageStopping", child, why)


def _news(reason: str, child: Child, words: str = "", warning: bool = False) -> News:
    where = f"{child.stage}, attempt {child.attempt}"
    return News(reason, f"{where}: {words}" if words else where, warning, child)


def _fresh_tries(status: Status) -> News:
    stage = requested_stage(status.retried)
    if stage == EVERY or stage in status.stages:
        return News(
            "FreshTries", f"for {'every stage that has not succeeded' if stage == EVERY else stage}, on request"
        )
    words = f"{ANNOTATION} names {stage!r}, which is no stage; write one of {', '.join(status.stages)}, or {EVERY}"
    return News("NoSuchStage", words, warning=True)


def _retry(name: str, ended: EndedAttempt, old: StageStatus, new: StageStatus) -> News:
    charged = new.charged_attempts > old.charged_attempts
    return _news("StageWillRetry", Child(name, ended.attempt), f"{ended.reason}: {ended.message}", warning=charged)


def _event(experiment: Experiment, news: News) -> dict[str, object]:
    metadata = experiment.metadata
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata.name}.{uuid.uuid4().hex[:16]}", "namespace": metadata.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
        },
        "type": "Warning" if news.warning else "Normal",
        "reason": news.reason,
        "message": news.message[:LONGEST_MESSAGE],
        "eventTime": micro_time(),
        "reportingComponent": "limr-operator",
        "reportingInstance": "limr-operator",
        "action": "Reconcile",
    }
