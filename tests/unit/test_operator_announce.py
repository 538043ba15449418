"""What is told about each change of a status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.plan import Child, EndedAttempt, Phase, StageState, StageStatus, Status, condition, with_columns
from limr.spec import Action
from limr.stage import ArmResult, Interval, Selected, StageKind, Tripped
from limr_operator.announce import LONGEST_MESSAGE, News, changes, fitting

NOW = datetime(2026, 1, 1, tzinfo=UTC)

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
            status(StageState.PENDING, tripped=Tripped(guard="kl", action=Action.SUSPEND, settings="{}"), **LOST),
            [News("GuardTripped", TOLD, warning=True, child=FIRST)],
        ),
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


def with_conditions(**reasons: tuple[bool, str]) -> Status:
    made = (condition(kind, *word, "why", None, 1, NOW) for kind, word in reasons.items())
    return Status(conditions=tuple(made))


VALID, INVALID = with_conditions(Accepted=(True, "Valid")), with_conditions(Accepted=(False, "QueueMissing"))
WAITS = with_conditions(Progressing=(True, "WaitingForCluster"))
SCORES = ArmResult(name="lim", benchmarks={"sums": Interval(mean=0.5, low=0.4, high=0.6)})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Status(), VALID, []),
        (Status(), INVALID, [News("QueueMissing", "why", warning=True)]),
        (INVALID, INVALID, []),
        (INVALID, VALID, [News("Accepted", "why")]),
        (with_conditions(Progressing=(True, "Starting")), WAITS, [News("WaitingForCluster", "why")]),
        (WAITS, WAITS, []),
        (
            Status(),
            with_columns(Status(results=(SCORES,))),
            [News("Results", "the report is written; best: lim 50.0%")],
        ),
        (Status(), Status(phase=Phase.SUSPENDED), [News("Suspended", "the experiment is Suspended")]),
        (
            Status(),
            status(StageState.BLOCKED, 0, reason="NeedsFailedStage", message="it needs probe"),
            [News("StageBlocked", "probe: it needs probe")],
        ),
        (
            status(),
            status(StageState.SUCCEEDED, selected=Selected(prompts=1389, of=8523)),
            [News("StageSucceeded", "probe, attempt 1: kept 1,389 of 8,523 prompts", child=FIRST)],
        ),
    ],
)
def test_changes_of_the_whole(before: Status, after: Status, expected: list[News]) -> None:
    assert list(changes(before, after)) == expected


def test_a_failed_experiment_says_why() -> None:
    failed = condition("Failed", True, "StageFailed", "probe failed\n\nThe last lines of probe:\n| x", None, 1, NOW)
    after = Status(phase=Phase.FAILED, conditions=(failed,))
    assert list(changes(Status(), after)) == [News("Failed", "probe failed", warning=True)]


def test_a_failed_attempt_brings_its_last_lines() -> None:
    lines = ("INFO step 3", "ERROR engine 0 died")
    retried = status(StageState.PENDING, retry_at=NOW, last_lines=lines, **LOST)
    (news,) = changes(status(), retried)
    assert (news.reason, news.last_lines) == ("StageWillRetry", lines)
    (news,) = changes(status(), status(StageState.FAILED, last_lines=lines, **LOST))
    assert (news.reason, news.last_lines) == ("StageFailed", lines)
    assert fitting(news.message, lines) == f"{TOLD}\n| INFO step 3\n| ERROR engine 0 died"


@given(
    st.text(st.characters(codec="utf-8")), st.lists(st.text(st.characters(codec="utf-8"), max_size=300), max_size=10)
)
def test_an_event_has_what_fits_of_the_last_lines(message: str, lines: list[str]) -> None:
    text = fitting(message, lines)
    assert len(text.encode()) <= LONGEST_MESSAGE
    whole = message + "".join(f"\n| {line}" for line in lines)
    if len(whole.encode()) <= LONGEST_MESSAGE:
        assert text == whole
    elif len(message.encode()) <= LONGEST_MESSAGE:
        assert text.startswith(message)
        assert whole.endswith(text.removeprefix(message))


def test_an_end_that_is_charged_is_a_warning() -> None:
    stage = RETRIED.stages["probe"].model_copy(update={"charged_attempts": 1})
    assert next(changes(status(), Status(stages={"probe": stage}))).warning
