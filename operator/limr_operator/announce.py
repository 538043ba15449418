"""Events: what changed between two statuses, for `kubectl describe` and whoever collects them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from limr.plan import ACTIVE, Child, EndedAttempt, Phase, StageState, StageStatus, Status
from limr.plan.retry import ANNOTATION, EVERY, requested_stage
from limr.plan.settle import ended_attempt
from limr.spec import Experiment
from limr_operator import names
from limr_operator.api import Api, ApiError, micro_time

LONGEST_MESSAGE = 1000  # bytes; the API takes 1,024

_log = logging.getLogger(__name__)


class News(NamedTuple):
    reason: str
    message: str
    warning: bool = False
    child: Child | None = None  # the attempt that it is about
    last_lines: tuple[str, ...] = ()  # of that attempt's log

    @property
    def about(self) -> dict[str, object]:
        return {"stage": self.child.stage, "attempt": self.child.attempt} if self.child else {}


def announce(experiment: Experiment, before: Status, after: Status, api: Api) -> None:
    """An event for each change."""
    for news in changes(before, after):
        tell(experiment, news, api)


def tell(experiment: Experiment, news: News, api: Api) -> None:
    """Events inform people only, so one that cannot be written is worth a log line."""
    _log.info("%s: %s", news.reason, news.message, extra={"reason": news.reason, **news.about})
    try:
        api.create(_event(experiment, news))
    except ApiError as error:
        _log.warning("an event was not written: %s", error)


def changes(before: Status, after: Status) -> Iterator[News]:
    for name, stage in after.stages.items():
        old = before.stages.get(name) or StageStatus(kind=stage.kind)
        yield from _of_attempts(name, old, stage)
        yield from _of_stage(name, old, stage)
    if after.retried != before.retried:
        yield _fresh_tries(after)
    yield from _of_conditions(before, after)
    if after.results and after.results != before.results:
        yield News("Results", f"the report is written; best: {after.best or 'nothing was evaluated'}")
    if before.phase is not after.phase:
        yield _of_phase(after)


def _of_attempts(name: str, old: StageStatus, new: StageStatus) -> Iterator[News]:
    if new.attempt > old.attempt:
        if new.previous and old.state in ACTIVE:  # ended and tried again at once
            yield _retry(name, new.previous, old, new)
        yield _news("StageStarting", Child(name, new.attempt))


def _of_stage(name: str, old: StageStatus, new: StageStatus) -> Iterator[News]:
    if new.state is old.state and (new.reason, new.message) == (old.reason, old.message):
        return
    child, why = Child(name, new.attempt), f"{new.reason}: {new.message}"
    match new.state:
        case StageState.RUNNING:
            yield _news("StageRunning", child)
        case StageState.SUCCEEDED:
            yield _news("StageSucceeded", child, new.message or _kept(new) or "done")
        case StageState.FAILED:
            yield _news("StageFailed", child, why, True, new.last_lines)
        case StageState.BLOCKED:
            yield News("StageBlocked", f"{name}: {new.message}")  # what blocks it has its warning
        case StageState.PENDING if new.retry_at or new.tripped:
            yield _retry(name, ended_attempt(new), old, new)
        # That its Pods are being started follows from StageStarting.
        case StageState.QUEUED if new.reason != old.reason and not new.reason.endswith("Starting"):
            yield _news("StageWaiting", child, why)
        case StageState.STOPPING | StageState.TERMINATING:
            yield _news("StageStopping", child, why)


def _news(reason: str, child: Child, words: str = "", warning: bool = False, last_lines: tuple[str, ...] = ()) -> News:
    where = f"{child.stage}, attempt {child.attempt}"
    return News(reason, f"{where}: {words}" if words else where, warning, child, last_lines)


def _retry(name: str, ended: EndedAttempt, old: StageStatus, new: StageStatus) -> News:
    child, words = Child(name, ended.attempt), f"{ended.reason}: {ended.message}"
    if new.tripped:
        return _news("GuardTripped", child, words, True)
    charged = new.charged_attempts > old.charged_attempts
    return _news("StageWillRetry", child, words, charged, ended.last_lines)


def _kept(stage: StageStatus) -> str:
    return f"kept {stage.selected.prompts:,} of {stage.selected.of:,} prompts" if stage.selected else ""


def _of_conditions(before: Status, after: Status) -> Iterator[News]:
    """What neither stages nor the phase tell: whether it may go on at all, and that a stage waits for its cluster."""
    for kind in ("Accepted", "Progressing"):
        was, now = before.condition(kind), after.condition(kind)
        if now is None or (was and (was.status, was.reason) == (now.status, now.reason)):
            continue
        if kind == "Accepted" and (was or now.status == "False"):
            yield News("Accepted" if now.status == "True" else now.reason, now.message, warning=now.status == "False")
        elif now.reason == "WaitingForCluster":
            yield News(now.reason, now.message)


def _of_phase(status: Status) -> News:
    failed = status.phase is Phase.FAILED
    end = status.condition("Failed") if failed else None
    return News(status.phase.value, end.sentence if end else f"the experiment is {status.phase.value}", failed)


def _fresh_tries(status: Status) -> News:
    stage = requested_stage(status.retried)
    if stage == EVERY or stage in status.stages:
        return News(
            "FreshTries", f"for {'every stage that has not succeeded' if stage == EVERY else stage}, on request"
        )
    words = f"{ANNOTATION} names {stage!r}, which is no stage; write one of {', '.join(status.stages)}, or {EVERY}"
    return News("NoSuchStage", words, warning=True)


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
        "message": fitting(news.message, news.last_lines),
        "eventTime": micro_time(),
        "reportingComponent": "limr-operator",
        "reportingInstance": "limr-operator",
        "action": "Reconcile",
    }


def fitting(message: str, last_lines: Sequence[str]) -> str:
    """As much of both as an event can have: of the message the beginning, of the lines the last."""
    text = message.encode()[:LONGEST_MESSAGE].decode(errors="ignore")
    room = LONGEST_MESSAGE - len(text.encode())
    lines: list[str] = []
    for line in reversed(last_lines):
        lines.insert(0, f"\n| {line}")
        room -= len(lines[0].encode())
        if room < 0:
            return text + "".join(lines[1:])
    return text + "".join(lines)
