"""The examples are valid, and the paper's recipe says what the paper did."""

from __future__ import annotations

from pathlib import Path

import pytest

from limr.plan import graph
from limr.spec import PPO, Reading
from limr.validate import load

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/experiment.yaml")), ids=lambda file: file.parent.name)
def test_every_example_is_valid(file: Path) -> None:
    load(file)


def test_the_papers_recipe() -> None:
    spec = load(EXAMPLES / "qwen2.5-math-7b" / "experiment.yaml").spec
    differs = {name for name in PPO.model_fields if getattr(spec.ppo, name) != getattr(PPO(), name)}
    assert differs == {"compat", "importance_clip"}, "the defaults are the paper's, but for what it did wrong or not"
    assert spec.ppo.compat == "paper"
    assert spec.ppo.importance_clip is None
    assert spec.ppo.updates_per_step == 32
    assert (spec.selection.threshold, spec.selection.reading, spec.probe.epochs) == (0.6, Reading.CODE, 21)
    assert [(b.name, b.samples, b.temperature, b.top_p, b.max_response_tokens) for b in spec.evaluation.benchmarks] == [
        ("aime24", 4, 0.4, 0.95, 3072),
        ("amc23", 4, 0.4, 0.95, 3072),
        ("math500", 1, 0.0, 0.95, 3072),
    ]


def test_the_papers_recipe_trains_lim_once_and_random_three_times() -> None:
    names = [stage.name for stage in graph(load(EXAMPLES / "qwen2.5-math-7b" / "experiment.yaml"))]
    assert [name for name in names if name.startswith("train-")] == [
        "train-lim-s1",
        "train-random-s1",
        "train-random-s2",
        "train-random-s3",
    ]
