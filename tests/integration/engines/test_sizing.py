"""The plan of a learner's memory against what real learners use; benchmarks/bench_sizing.py has more shapes."""

from __future__ import annotations

import pytest
from learner_memory import Case, measure, planned, step_peak
from sizing_cases import ALLOWED, CASES

pytestmark = [pytest.mark.integration, pytest.mark.nightly, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("case", [CASES[0], CASES[-1]], ids=["qwen2-zero-1", "llama-zero-3-two-ranks"])
def test_the_plan_is_within_15_percent_of_the_measured_peak(case: Case) -> None:
    for peaks in measure(case):
        assert planned(case).device == pytest.approx(step_peak(peaks), rel=ALLOWED)
