"""The spec's rules: the paper's values as defaults, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from limr.spec import Experiment, Spec

MINIMAL: dict[str, Any] = {"model": {"uri": "Qwen/Qwen2.5-Math-7B"}, "dataset": {"uri": "d.json"}}


def spec(**fields: Any) -> Spec:
    return Spec.model_validate({**MINIMAL, **fields})


def test_defaults_are_the_papers_values() -> None:
    ppo = spec().ppo
    assert (ppo.prompts_per_step, ppo.samples_per_prompt, ppo.train_batch_size) == (1024, 8, 256)
    assert ppo.updates_per_step == 32
    assert (ppo.actor_learning_rate, ppo.critic_learning_rate, ppo.temperature) == (5e-7, 9e-6, 1.2)
    assert (spec().probe.epochs, spec().selection.strategy, [arm.name for arm in spec().arms]) == (21, "lim", ["lim"])


def test_the_papers_evaluation_settings_yield_to_what_is_written() -> None:
    benchmarks = [{"name": "aime24", "uri": "a"}, {"name": "math500", "uri": "m", "maxResponseTokens": 99}]
    aime, math = spec(evaluation={"protocol": "paper", "benchmarks": benchmarks}).evaluation.benchmarks
    assert (aime.samples, aime.temperature, aime.top_p, aime.max_response_tokens) == (4, 0.4, 0.95, 3072)
    assert (math.samples, math.temperature, math.max_response_tokens) == (1, 0, 99)


def test_null_says_nothing_against_the_papers_settings() -> None:
    """An API server drops it."""
    benchmarks = [{"name": "aime24", "uri": "a", "maxResponseTokens": None, "questionField": None}]
    (aime,) = spec(evaluation={"protocol": "paper", "benchmarks": benchmarks}).evaluation.benchmarks
    assert (aime.max_response_tokens, aime.question_field) == (3072, None)


@pytest.mark.parametrize(("clip", "bounds"), [(None, None), (0, []), (0.0, ())])
def test_clips_can_be_left_out(clip: Any, bounds: Any) -> None:
    ppo = spec(ppo={"valueClip": clip, "importanceClip": bounds}).ppo
    assert (ppo.value_clip, ppo.importance_clip) == (None, None)
    assert type(ppo).model_validate_json(ppo.model_dump_json(by_alias=True)) == ppo


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ppo": {"trainBatchSize": 100}}, "make trainBatchSize a divisor of 8192"),
        ({"ppo": {"algorithm": "grpo", "samplesPerPrompt": 1, "trainBatchSize": 64}}, "samplesPerPrompt to 2"),
        ({"ppo": {"importanceClip": [5, 0.5]}}, "importanceClip"),
        ({"ppo": {"actorLearningRate": float("nan")}}, "finite"),
        ({"cluster": {"learner": {"replicas": 3}}}, "multiple of cluster.learner.replicas"),
        ({"model": {"uri": "m", "prompt": {"template": "Solve."}}}, "{prompt}"),
        ({"model": {"uri": "m", "prompt": {"system": "Be brief."}}}, "chat: true"),
        ({"storage": {"uri": "runs", "endpoint": "http://127.0.0.1:9000"}}, "s3://"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "'a' stands twice"),
        ({"arms": [{"name": "a", "size": {"sameAs": "b"}}, {"name": "b"}]}, "put that arm first"),
        ({"arms": [{"name": "f", "reuseProbe": True}, {"name": "r", "size": {"sameAs": "f"}}]}, "reuseProbe"),
        ({"arms": [{"name": "a", "seeds": [1, 1]}]}, "seeds has a value twice"),
        ({"arms": [{"name": "a", "size": {"count": 3, "fraction": 0.5}}]}, "exactly one"),
        ({"arms": [{"name": "a--b"}]}, "pattern"),
        ({"selection": {"scoresFrom": "s.json"}}, "training.steps"),
        ({"selection": {"scoresFrom": "s.json"}, "arms": [{"name": "f", "reuseProbe": True}]}, "arms[0].reuseProbe"),
        ({"evaluation": {"everySteps": 5}}, "add benchmarks"),
        ({"schedule": {"reuseCluster": True, "parallelStages": 3}}, "set parallelStages to 1 or remove it"),
        ({"evaluation": {"benchmarks": [{"name": "b", "uri": "b", "samples": 4}]}}, "greedy"),
    ],
)
def test_refused_with_the_remedy(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        spec(**fields)


@pytest.mark.parametrize("name", ["Upper", "-a", "a-", "a--b", "1a", "a" * 21, ""])
def test_names_that_would_not_fit_kubernetes(name: str) -> None:
    with pytest.raises(ValidationError):
        Experiment.model_validate({"metadata": {"name": name}, "spec": MINIMAL})


def test_a_namespace_cannot_leave_the_storage_folder() -> None:
    with pytest.raises(ValidationError):
        Experiment.model_validate({"metadata": {"name": "a", "namespace": "../x"}, "spec": MINIMAL})


def parts(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name} has no description"
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found |= parts(inner)
    return found


def test_every_field_is_described() -> None:
    assert len(parts(Spec)) > 15
