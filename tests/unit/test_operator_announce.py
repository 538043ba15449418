"""What is told about each change of a status."""

from __future__ import annotations

from typing import Any

import pytest

from limr.plan import Child, EndedAttempt, StageState, StageStatus, Status
from limr.stage import StageKind
from limr_operator.announce import News, changes

FIRST, SECOND = Child("probe", 1), Child("probe", 2)
LOST = {"reason": "HeadLost", "message": "the Pod with its driver is gone"}
TOLD = "probe, attempt 1: HeadLost: the Pod with its driver is gone"


def status(state: StageState = StageState.RUNNING, attempt: int = 1, **more: Any) -> Status:
    return Status(stages={"probe": StageStatus(kind=StageKind.PROBE, state=state, attempt=attempt, **more)})


RETRIED = status(StageState.STARTING, 2, previous=EndedAttempt(attempt=1, **LOST))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Status(), status(StageState.STARTING), [News("StageStarting", "probe, attempt 1", child=FIRST)]),
        (status(StageState.STARTING), status(), [News("StageRunning", "probe, attempt 1", child=FIRST)]),
        (status(), status(), []),
        (
            status(),
            RETRIED,
            [News("StageWillRetry", TOLD, child=FIRST), News("StageStarting", "probe, attempt 2", child=SECOND)],
        ),
        (status(StageState.PENDING, **LOST), RETRIED, [News("StageStarting", "probe, attempt 2", child=SECOND)]),
        (
            status(),
            status(StageState.FAILED, charged_attempts=3, **LOST),
            [News("StageFailed", TOLD, True, FIRST)],
        ),
    ],
)
def test_changes(before: Status, after: Status, expected: list[News]) -> None:
    assert list(changes(before, after)) == expected


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("probe now", News("FreshTries", "for probe, on request")),
        ("* now", News("FreshTries", "for every stage that has not succeeded, on request")),
        (
            "prob now",
            News(
                "NoSuchStage", "limr.dev/retry names 'prob', which is no stage; write one of probe, or *", warning=True
            ),
        ),
    ],
)
def test_a_request_for_fresh_tries(request_: str, expected: News) -> None:
    before = status()
    assert list(changes(before, before.model_copy(update={"retried": request_}))) == [expected]


def test_an_end_that_is_charged_is_a_warning() -> None:
    stage = RETRIED.stages["probe"].model_copy(update={"charged_attempts": 1})
    assert next(changes(status(), Status(stages={"probe": stage}))).warning
