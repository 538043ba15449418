"""A whole small experiment by `limr run` in a local folder."""

from __future__ import annotations

import json

import pytest
from runs import STAGES, Run

from limr.store.layout import RESULTS

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
