"""A whole small experiment by `limr run`, on a local folder and on an S3 server that fails one request in ten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import STAGES, Run
from servers.s3_server import FlakyS3

from limr.store.layout import REPORT, RESULTS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def test_engines_and_learner_agree_in_every_step(undisturbed: tuple[Run, float]) -> None:
    run, _ = undisturbed
    for stage in STAGES:
        for step in run.manifest(stage).steps:
            assert step.metrics["logprob_gap_max"] < 1e-4, (stage, step.step)


def test_results_have_an_interval_for_base_and_arm(undisturbed: tuple[Run, float]) -> None:
    run, _ = undisturbed
    table = json.loads(run.store().get(f"report/{RESULTS}"))["table"]
    assert [row["name"] for row in table] == ["base", "rest"]
    for row in table:
        interval = row["benchmarks"]["sums"]
        assert 0 <= interval["low"] < interval["mean"] < interval["high"] <= 1


def test_evaluation_during_training_is_recorded(undisturbed: tuple[Run, float]) -> None:
    run, _ = undisturbed
    evaluated = [step.step for step in run.manifest("probe").steps if "eval_sums" in step.metrics]
    assert evaluated == [4, 8, 12]


def test_a_run_that_is_done_does_nothing_again(undisturbed: tuple[Run, float]) -> None:
    run, _ = undisturbed
    before = run.manifest("probe")
    run.finish(run.start())
    assert set(run.attempts().values()) == {1}
    assert run.manifest("probe") == before


def test_nothing_is_lost_or_doubled_in_s3_that_fails(
    undisturbed: tuple[Run, float], flaky_s3: FlakyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = undisturbed
    monkeypatch.setenv("LIMR_MODEL_CACHE", str(tmp_path / "models"))
    run = Run(tmp_path / "run", {"uri": f"{flaky_s3.uri}/experiments", "endpoint": flaky_s3.endpoint})
    run.finish(run.start())
    assert sum(flaky_s3.proxy.faults.values()) > 0
    run.storage["endpoint"] = flaky_s3.direct_endpoint
    run.assert_equals(expected)
    assert b"<html" in run.store().get(f"report/{REPORT}")
    for stage in STAGES:
        named = {f"{stage}/{path}" for path in run.manifest(stage).files()}
        assert named <= {entry.path for entry in run.store().list(stage)}
        assert run.manifest(stage).checkpoints
