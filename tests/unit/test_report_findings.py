"""The report's sentences say what the numbers allow, and no more."""

from __future__ import annotations

import math

import pytest

from limr.report import findings
from limr.report.comparison import BASE
from limr.report.problems import problems
from limr.report.schema import AVERAGE, Difference, Row, Verdict
from limr.report.sources import Steps
from limr.spec import PPO
from limr.stage import Interval, Ledger, StageKind, StageRef


def interval(mean: float, low: float, high: float) -> Interval:
    return Interval(mean=mean, low=low, high=high)


def row(name: str, strategy: str | None, **changes: object) -> Row:
    unscored = strategy in (None, "random", "full")
    values: dict[str, object] = {
        "name": name,
        "strategy": strategy,
        "prompts": 96,
        "seeds": [1],
        "benchmarks": {"sums": interval(0.7, 0.6, 0.8)},
        "average": None,
        "covers_seeds": True,
        "rollouts": 1000,
        "device_hours": 1.0,
        "uses_probe": not unscored,
        "rollouts_with_probe": 1000 if unscored else 3500,
        "device_hours_with_probe": 1.0,
    }
    return Row.model_validate(values | changes)


def difference(first: str, second: str, verdict: Verdict, mean: float = 0.061, benchmark: str = "sums") -> Difference:
    ends = {Verdict.BETTER: (0.01, 0.1), Verdict.WORSE: (-0.1, -0.01), Verdict.OPEN: (-0.05, 0.1)}[verdict]
    return Difference(
        first=first,
        second=second,
        benchmark=benchmark,
        interval=interval(mean, *ends),
        covers_seeds=True,
        verdict=verdict,
        words=f"{first} is {verdict}",
    )


LIM, RANDOM, FULL = row("lim", "lim"), row("random", "random"), row("full", "full", prompts=512)


def test_headline_compares_the_scored_arm_with_the_others() -> None:
    found = [
        difference("lim", "random", Verdict.BETTER),
        difference("lim", "full", Verdict.OPEN),
        difference("lim", BASE, Verdict.BETTER),
    ]
    said = findings.headline([row(BASE, None), RANDOM, LIM, FULL], found, 512)
    assert said == (
        "lim, trained on 96 of 512 prompts, does better than random by 6.1 points and cannot be told apart from full."
    )


def test_headline_says_when_the_chosen_prompts_did_worse() -> None:
    found = [difference("lim", "full", Verdict.WORSE, -0.043)]
    said = findings.headline([LIM, FULL], found, None)
    assert said == "lim, trained on 96 prompts, does worse than full by 4.3 points."


def test_headline_says_that_one_seed_is_one_seed() -> None:
    better = difference("lim", "random", Verdict.BETTER)
    found = [better, difference("lim", "full", Verdict.BETTER, 0.02).model_copy(update={"covers_seeds": False})]
    said = findings.headline([LIM, RANDOM, FULL], found, None)
    assert said.endswith("does better than random by 6.1 points and full by 2.0 points (one seed each).")


def test_headline_speaks_of_all_benchmarks_where_there_are_several() -> None:
    found = [difference("lim", "full", Verdict.BETTER), difference("lim", "full", Verdict.OPEN, benchmark=AVERAGE)]
    assert "cannot be told apart from full" in findings.headline([LIM, FULL], found, None)


def test_headline_falls_back_to_the_base_model() -> None:
    said = findings.headline([row(BASE, None), LIM], [difference("lim", BASE, Verdict.BETTER)], None)
    assert said == "lim, trained on 96 prompts, does better than base by 6.1 points."


def test_headline_without_benchmarks_claims_nothing() -> None:
    assert "nothing can be said" in findings.headline([row("lim", "lim", benchmarks={})], [], 512)


def test_headline_of_a_lonely_arm() -> None:
    assert (
        findings.headline([LIM], [], 512) == "lim answers 70.0 % of the questions; there is nothing to compare it with."
    )


def test_less_data_is_not_less_compute() -> None:
    said = findings.sentences([LIM, FULL], [], None)
    assert said[0].endswith("took a probe of 2,500 rollouts before a training of 1,000: 3,500 in all.")
    assert said[1].startswith("Less data was not less compute here: full drew 1,000 rollouts")


@pytest.mark.parametrize(("full_rollouts", "number"), [(2000, 3), (3500, 1), (1100, 25)])
def test_when_the_probe_pays_for_itself(full_rollouts: int, number: int) -> None:
    said = findings.sentences([LIM, row("full", "full", rollouts=full_rollouts)], [], None)
    assert f"from training number {number} on" in said[1]


def test_scores_from_elsewhere_have_an_unknown_cost() -> None:
    said = findings.sentences([row("lim", "lim", rollouts_with_probe=None)], [], "s3://b/scores.json")
    assert said == ["The scores were taken from s3://b/scores.json: what it cost to measure them is not counted here."]


def test_one_seed_is_said_to_be_one_seed() -> None:
    assert findings.ONE_SEED in findings.sentences([row("lim", "lim", covers_seeds=False)], [], None)
    assert findings.ONE_SEED not in findings.sentences([LIM], [], None)


PPO_SPEC = PPO.model_validate({"promptsPerStep": 64, "samplesPerPrompt": 4, "trainBatchSize": 4})


def steps(name: str, **metrics: list[float]) -> Steps:
    rows = [
        dict(zip(metrics, values, strict=True), step=number)
        for number, values in enumerate(zip(*metrics.values(), strict=True), start=1)
    ]
    return Steps(StageRef(name=name, kind=StageKind.TRAINING), 1, rows, Ledger())


def test_every_arm_worse_than_the_base_model_is_said() -> None:
    found = [
        difference("lim", "random", Verdict.BETTER),
        difference("lim", BASE, Verdict.WORSE, -0.12),
        difference("random", BASE, Verdict.WORSE, -0.181),
    ]
    said = list(problems([], PPO_SPEC, [row(BASE, None), LIM, RANDOM], found))
    assert said == [
        "Every arm is worse than the base model, lim by 12.0 points and random by 18.1 points: training did harm, so a "
        "comparison of the arms says nothing about which prompts to choose. Lower ppo.actorLearningRate or look at the "
        "rewards first."
    ]
    one_may_be_as_good = [*found[:2], difference("random", BASE, Verdict.OPEN)]
    assert not list(problems([], PPO_SPEC, [row(BASE, None), LIM, RANDOM], one_may_be_as_good))
    assert not list(problems([], PPO_SPEC, [LIM, RANDOM], found[:1])), "without a base model nothing is known"


def test_a_training_that_collapsed_is_named() -> None:
    fine = steps("probe", accuracy=[0.4, 0.5, 0.6] * 10)
    down = steps("train-lim-s1", accuracy=[0.5] * 10 + [0.0] * 20)
    infinite = steps("train-full-s1", accuracy=[0.5] * 3, actor_grad_norm=[1.0, math.inf, math.inf])
    assert not list(problems([fine], PPO_SPEC, [], []))
    assert list(problems([fine, down, infinite], PPO_SPEC, [], [])) == [
        "Training collapsed in train-lim-s1 (training accuracy 0.0% after at least 44.1%), train-full-s1 "
        "(actor_grad_norm was not finite at step 2): what follows compares damaged models, not selections of prompts."
    ]
