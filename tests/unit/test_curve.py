"""A long history in a few numbers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limr.curve import LONGEST, condensed
from limr.plan import EndedAttempt, StageState, StageStatus, Status
from limr.plan.status import MAX_STAGES
from limr.stage import Ledger, Output, Progress, StageKind

ETCD_BYTES = 1.5e6  # what a request to etcd may have


def test_a_short_history_stays_as_it_is() -> None:
    assert condensed([]) == ()
    assert condensed([0.5, -0.123456, 12345.6]) == (0.5, -0.1235, 12350.0)


def test_a_long_one_is_averaged_over_2_4_8_steps() -> None:
    assert condensed(range(LONGEST)) == tuple(range(LONGEST))
    assert condensed(range(41))[:3] == (0.5, 2.5, 4.5)
    assert condensed(range(41))[-1] == 40, "the last number has fewer steps"
    assert condensed(range(81))[:2] == (1.5, 5.5)


@given(st.lists(st.floats(-10, 10), max_size=700))
def test_it_is_bounded_and_keeps_the_mean(values: list[float]) -> None:
    curve = condensed(values)
    assert len(curve) <= LONGEST
    assert len(curve) > LONGEST / 2 or len(curve) == len(values)
    for end in (80, 160, 320, 640):
        if len(values) == end:
            assert sum(curve) / len(curve) == pytest.approx(sum(values) / end, abs=1e-2)


def test_the_status_of_the_largest_experiment_fits_etcd() -> None:
    now = datetime.now(UTC)
    progress = Progress(
        updated_at=now.timestamp(),
        step=99999,
        steps=99999,
        message="evaluating random-s999",
        reward_mean=-0.12345678901234567,
        reward_curve=(-1.234e-05,) * LONGEST,
        tokens_per_second=123456.78901234567,
        eta_seconds=123456.78901234567,
        checkpoint_step=99999,
        ledger=Ledger(rollouts=10**8, prompt_tokens=10**11, response_tokens=10**11, device_seconds=12345678.901234567),
    )
    stage = StageStatus(
        kind=StageKind.TRAINING,
        state=StageState.RUNNING,
        attempt=999,
        charged_attempts=9,
        started_at=now,
        heartbeat_at=now,
        finished_at=now,
        retry_at=now,
        reason="DeadlineExceeded",
        message="m" * 300,
        previous=EndedAttempt(attempt=998, reason="DeadlineExceeded", message="m" * 300),
        progress=progress,
        outputs={name: Output(uri="s3://" + "u" * 150, digest="sha256:" + "0" * 64) for name in ("model", "manifest")},
        ledger=progress.ledger,
    )
    status = Status(stages={f"train-{'a' * 10}-s{seed}": stage for seed in range(MAX_STAGES)})
    assert len(status.to_json()) < ETCD_BYTES
    without = stage.model_copy(update={"progress": progress.model_copy(update={"reward_curve": ()})})
    assert len(stage.to_json()) - len(without.to_json()) < 500
