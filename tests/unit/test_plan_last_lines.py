"""The last lines of failed attempts, in stages and in the condition Failed, and how many of them a status keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from plan_world import CHECKED

from limr.log_lines import CHARACTERS, LINES
from limr.plan import Child, Died, EndedAttempt, Finished, StageState, StageStatus, Status, plan
from limr.plan.last_lines import KEPT, kept
from limr.plan.status import MAX_STAGES
from limr.spec import Experiment
from limr.stage import Outcome, StageKind, StageResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXPERIMENT = Experiment.model_validate(
    {
        "metadata": {"name": "demo"},
        "spec": {"model": {"uri": "m"}, "dataset": {"uri": "d.json"}, "limits": {"attempts": 2}},
    }
)
BROKE = StageResult(outcome=Outcome.FAILED, reason="Crashed", message="it broke", last_lines=("one", "\x1b[1mtwo"))
KILLED = Died("NoResult", "it ended without a result", last_lines=("three",))


def after(status: Status, attempt: int, end: Finished | Died) -> Status:
    seen = {Child("probe", attempt): end}
    return plan(EXPERIMENT, status, seen, NOW, root="r").status


def test_they_follow_the_attempt() -> None:
    status = plan(EXPERIMENT, CHECKED, {}, NOW, root="r").status
    status = after(status, 1, Finished(BROKE))
    probe = status.stages["probe"]
    assert (probe.state, probe.last_lines) == (StageState.PENDING, ("one", "two")), "as a terminal shows them"
    later = NOW + timedelta(minutes=5)
    status = plan(EXPERIMENT, status, {}, later, root="r").status
    probe = status.stages["probe"]
    assert (probe.state, probe.last_lines) == (StageState.STARTING, ())
    assert probe.previous == EndedAttempt(attempt=1, reason="Crashed", message="it broke", last_lines=("one", "two"))
    status = after(status, 2, KILLED)
    failed = status.condition("Failed")
    assert failed is not None
    assert failed.sentence.startswith("probe failed after 2 attempts (NoResult): it ended without a result; read ")
    assert failed.message == f"{failed.sentence}\n\nThe last lines of probe:\n| three"
    assert status.message == failed.sentence, "a column of kubectl get"
    assert after(status, 2, KILLED) == status


def ended(number: int, lines: tuple[str, ...], at: datetime | None) -> StageStatus:
    previous = EndedAttempt(attempt=1, reason="Crashed", message="", last_lines=lines)
    return StageStatus(
        kind=StageKind.TRAINING,
        state=StageState.FAILED if at else StageState.RUNNING,
        attempt=2,
        finished_at=at,
        last_lines=lines if at else (),
        previous=previous,
    )


@given(st.lists(st.none() | st.integers(0, 50), max_size=60))
def test_the_latest_failures_keep_theirs(ends: list[int | None]) -> None:
    times = [None if end is None else NOW + timedelta(seconds=end) for end in ends]
    stages = {f"train-a-s{number}": ended(number, ("x",), at) for number, at in enumerate(times)}
    less = kept(stages)
    assert kept(less) == less
    having = [name for name, stage in less.items() if stage == stages[name]]
    assert len(having) == min(KEPT, len(stages))
    without = [stages[name].finished_at for name in less if name not in having]
    oldest = min((stages[name].finished_at or datetime.max.replace(tzinfo=UTC) for name in having), default=NOW)
    assert all(at is None or at <= oldest for at in without)


def test_the_largest_experiment_fits_though_all_of_it_failed() -> None:
    lines = ("\U0001f4a5" * (CHARACTERS // LINES),) * LINES  # four bytes each
    stages = {f"train-{'a' * 20}-s{number}": ended(number, lines, NOW) for number in range(MAX_STAGES)}
    bare = {name: stage.model_copy(update={"last_lines": (), "previous": None}) for name, stage in stages.items()}
    assert size(kept(stages)) - size(bare) < 300_000


def size(stages: dict[str, StageStatus]) -> int:
    return len(Status(stages=stages).to_json().encode())
