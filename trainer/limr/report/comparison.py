"""The results table: how well each arm answers, what it cost, and which differences can be claimed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from limr.report.formats import interval_points, points
from limr.report.schema import AVERAGE, Difference, Row, Verdict
from limr.report.sources import Evaluation, Model, Sources
from limr.selection import registry
from limr.spec import Arm
from limr.stage import Interval, Ledger
from limr.statistics import Answers, covers_seeds, difference, pass_at_1

BASE = "base"


def rows(sources: Sources) -> list[Row]:
    """The base model, if it was evaluated, then the arms in the order of the spec."""
    answers = _of(sources)
    base = [_base_row(answers[BASE])] if BASE in answers else []
    return base + [_arm_row(sources, arm, answers.get(arm.name, {})) for arm in sources.experiment.spec.arms]


def differences(sources: Sources, table: Sequence[Row]) -> list[Difference]:
    """Each scored arm against each other arm, then each arm against the base model, on every benchmark."""
    answers = _of(sources)
    pairs = _pairs([row for row in table if row.name in answers])
    return [
        difference
        for first, second in pairs
        for difference in between(first.name, answers[first.name], second.name, answers[second.name])
    ]


def between(first: str, ours: Mapping[str, Answers], second: str, theirs: Mapping[str, Answers]) -> list[Difference]:
    """Two models' answers by benchmark: the difference on each one that both answered, and on all of these together."""
    common = [name for name in ours if name in theirs]
    found = [_difference(first, second, name, [ours[name]], [theirs[name]]) for name in common]
    if len(common) > 1:
        both = [[group[name] for name in common] for group in (ours, theirs)]
        found.append(_difference(first, second, AVERAGE, *both))
    return found


def _pairs(table: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    arms = [row for row in table if row.strategy is not None]
    ordered = sorted(arms, key=lambda row: not row.uses_probe)
    for index, first in enumerate(ordered):
        if first.uses_probe:
            yield from ((first, second) for second in ordered[index + 1 :])
    yield from ((arm, base) for base in table if base.strategy is None for arm in arms)


def _of(sources: Sources) -> dict[str, dict[str, Answers]]:
    return answers_of(sources.evaluation) if sources.evaluation else {}


def answers_of(evaluation: Evaluation) -> dict[str, dict[str, Answers]]:
    """Answers by row and benchmark; the seeds of an arm together."""
    groups: dict[str, list[Model]] = {}
    for model in evaluation.models:
        groups.setdefault(model.arm or BASE, []).append(model)
    return {
        name: {
            benchmark: Answers([np.stack([model.accuracy[benchmark] for model in models])], trained=name != BASE)
            for benchmark in models[0].accuracy
        }
        for name, models in groups.items()
    }


def _together(group: Sequence[Answers]) -> Answers:
    """Several benchmarks as one."""
    return Answers([accuracy for answers in group for accuracy in answers.accuracy], group[0].trained)


def _difference(
    first: str, second: str, benchmark: str, ours: Sequence[Answers], theirs: Sequence[Answers]
) -> Difference:
    one, other = _together(ours), _together(theirs)
    interval = difference(one, other)
    verdict = Verdict.BETTER if interval.low > 0 else Verdict.WORSE if interval.high < 0 else Verdict.OPEN
    return Difference(
        first=first,
        second=second,
        benchmark=benchmark,
        interval=interval,
        covers_seeds=covers_seeds(one, other),
        verdict=verdict,
        words=_words(first, second, verdict, interval),
    )


def _words(first: str, second: str, verdict: Verdict, interval: Interval) -> str:
    if verdict is Verdict.OPEN:
        return (
            f"no difference between {first} and {second} can be claimed: "
            f"anything from {interval_points(interval)} points fits the answers"
        )
    return (
        f"{first} is {verdict} than {second} by {points(abs(interval.mean))[1:]} points ({interval_points(interval)})"
    )


def _arm_row(sources: Sources, arm: Arm, answers: Mapping[str, Answers]) -> Row:
    spec = sources.experiment.spec
    strategy = "full" if arm.reuse_probe else spec.strategy_of(arm).strategy
    uses_probe = registry.find(strategy).needs_trajectories
    training = _one_training(sources, arm)
    return Row(
        name=arm.name,
        strategy=strategy,
        prompts=_prompts(sources, arm),
        seeds=[spec.seed] if arm.reuse_probe else arm.seeds,
        uses_probe=uses_probe,
        **_scores(answers),
        **_costs("", training),
        **_costs("_with_probe", _with_probe(sources, training) if uses_probe else training),
    )


def _base_row(answers: Mapping[str, Answers]) -> Row:
    nothing = {**_costs("", None), **_costs("_with_probe", None)}
    return Row(name=BASE, strategy=None, prompts=None, seeds=[], uses_probe=False, **_scores(answers), **nothing)


def _scores(answers: Mapping[str, Answers]) -> dict[str, Any]:
    groups = list(answers.values())
    return {
        "benchmarks": {name: pass_at_1(group) for name, group in answers.items()},
        "average": pass_at_1(_together(groups)) if len(groups) > 1 else None,
        "covers_seeds": covers_seeds(*groups),
    }


def _prompts(sources: Sources, arm: Arm) -> int | None:
    """How many prompts the arm was trained on; the probe sees the whole dataset, which every selection counts."""
    if not arm.reuse_probe:
        selection = sources.selections.get(arm.name)
        return selection.summary["selected"] if selection else None
    return next((selection.summary["prompts"] for selection in sources.selections.values()), None)


def _one_training(sources: Sources, arm: Arm) -> Ledger | None:
    """The mean over the arm's seeds of what a training cost."""
    if arm.reuse_probe:
        return sources.probe.ledger if sources.probe else None
    ledgers = [steps.ledger for steps in sources.trainings if steps.stage.arm == arm.name]
    if not ledgers:
        return None
    total = sum(ledgers, Ledger())
    return Ledger(rollouts=round(total.rollouts / len(ledgers)), device_seconds=total.device_seconds / len(ledgers))


def _with_probe(sources: Sources, training: Ledger | None) -> Ledger | None:
    """None where the probe's cost is not known: its scores came from elsewhere."""
    return training + sources.probe.ledger if training and sources.probe else None


def _costs(suffix: str, ledger: Ledger | None) -> dict[str, Any]:
    return {
        f"rollouts{suffix}": ledger.rollouts if ledger else None,
        f"device_hours{suffix}": ledger.device_seconds / 3600 if ledger else None,
    }
