"""Learner and engine hold the same weights and answer alike, whatever the architecture: checksums and fingerprint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from architectures import ARCHITECTURES, save_model
from engines import engine_group, learner_group, ray_cluster, step_batch

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TEXT = list(range(10, 40))
ALWAYS = ("llama-tied", "qwen3-moe")  # the others run every night
STEPS = 2


@pytest.fixture(scope="module", autouse=True)
def ray_running() -> Iterator[None]:
    with ray_cluster():
        yield


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.nightly) for name in ARCHITECTURES],
)
def test_two_steps_reach_the_engine(architecture: str, tmp_path: Path) -> None:
    model = str(save_model(architecture, tmp_path / "model"))
    # Two ranks that shard their weights, or one that has them whole; no critic and no reference, to start sooner.
    ranks, settings = (1, {"zeroStage": 1}) if architecture.endswith("tied") else (2, {"zeroStage": 3})
    settings |= {"algorithm": "grpo", "klCoefficient": 0.0, "actorLearningRate": 1e-3}
    with closing(engine_group(model)) as engines, closing(learner_group(ranks, model=model, **settings)) as learners:
        answers = []
        for step in range(STEPS + 1):
            if step:
                learners.measure(step_batch(step, 32, 4))
                learners.update()
            weights, fingerprint = learners.publish(step, TEXT)
            engines.sync(weights, fingerprint)
            answers.append(fingerprint.logprobs)
        assert engines.corrupted_transfers == 0
        # The weights moved by more than the engine may differ, so the proof would have noticed a stale engine.
        for before, after in itertools.pairwise(answers):
            assert abs(after - before).mean() > 10 * fingerprint.tolerance
