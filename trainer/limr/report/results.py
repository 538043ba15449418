"""Puts `results.json` together from what the stages left. Pure: the same sources give the same document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from limr.report import comparison, curves, findings
from limr.report.problems import problems
from limr.report.schema import Provenance, Results, SelectionFacts, StageFacts
from limr.report.sources import Scores, Selection, Sources, Steps
from limr.stage import StageKind


def build(sources: Sources, versions: Mapping[str, str]) -> Results:
    """`versions`: of the packages that shaped the numbers, by name."""
    experiment, spec = sources.experiment, sources.experiment.spec
    table = comparison.rows(sources)
    differences = comparison.differences(sources, table)
    scores = _first_scores(sources)
    selections = [_selection_facts(sources, arm, selection) for arm, selection in sources.selections.items()]
    dataset_prompts = next((facts.prompts for facts in selections if facts.prompts is not None), None)
    trainings = [*([sources.probe] if sources.probe else []), *sources.trainings]
    found = list(problems(trainings, spec.ppo, table, differences))
    return Results(
        name=experiment.metadata.name,
        namespace=experiment.metadata.namespace,
        headline=found[0] if found else findings.headline(table, differences, dataset_prompts),
        problems=found,
        findings=found[1:] + findings.sentences(table, differences, spec.selection.scores_from),
        table=table,
        differences=differences,
        benchmarks=list(sources.evaluation.benchmarks) if sources.evaluation else [],
        probe=curves.probe_facts(scores) if scores else None,
        selections=selections,
        stages=list(_stages(sources)),
        warnings=list(_warnings(selections)),
        spec=spec.model_dump(mode="json", by_alias=True),
        provenance=Provenance(
            model=spec.model.uri + (f" @ {spec.model.revision}" if spec.model.revision else ""),
            dataset=spec.dataset.uri,
            artifacts=list(sources.artifacts),
            versions=dict(versions),
        ),
    )


def _first_scores(sources: Sources) -> Scores | None:
    """All selections of one experiment see the same probe: any that has curves shows them."""
    scored = (selection.scores for selection in sources.selections.values() if selection.scores is not None)
    return next((scores for scores in scored if scores.accuracy is not None), None)


def _selection_facts(sources: Sources, arm_name: str, selection: Selection) -> SelectionFacts:
    spec = sources.experiment.spec
    arm = next(arm for arm in spec.arms if arm.name == arm_name)
    summary, scores = selection.summary, selection.scores
    threshold = summary["threshold"]
    return SelectionFacts(
        arm=arm_name,
        strategy=spec.strategy_of(arm).strategy,
        reading=summary.get("reading"),
        threshold=threshold,
        prompts=summary["prompts"],
        scored=summary["scored"],
        dropped=summary["dropped"],
        selected=summary["selected"],
        never_solved_selected=summary.get("never_solved_selected"),
        always_solved_selected=summary.get("always_solved_selected"),
        stability=next((earlier["jaccard"] for earlier in summary.get("stability", [])), None),
        warnings=summary["warnings"],
        histogram=curves.histogram(scores, threshold) if scores else None,
        examples=curves.examples(scores) if scores else [],
    )


def _warnings(selections: Sequence[SelectionFacts]) -> Iterator[str]:
    """Each warning once, with the arms it is about."""
    for warning in dict.fromkeys(warning for selection in selections for warning in selection.warnings):
        arms = [selection.arm for selection in selections if warning in selection.warnings]
        yield f"{', '.join(arms)}: {warning}"


def _stages(sources: Sources) -> Iterator[StageFacts]:
    """Those that make rollouts; selections cost next to nothing."""
    if sources.probe:
        yield _steps_facts(sources.probe)
    yield from (_steps_facts(steps) for steps in sources.trainings)
    if sources.evaluation:
        yield StageFacts(
            name="evaluate",
            kind=StageKind.EVALUATION,
            arm=None,
            seed=None,
            attempts=None,
            steps=None,
            ledger=sources.evaluation.ledger,
            series={},
            seconds={},
        )


def _steps_facts(steps: Steps) -> StageFacts:
    return StageFacts(
        name=steps.stage.name,
        kind=steps.stage.kind,
        arm=steps.stage.arm,
        seed=steps.stage.seed,
        attempts=steps.attempts,
        steps=len(steps.metrics),
        ledger=steps.ledger,
        series=_series(steps.metrics),
        seconds=_seconds(steps.metrics),
    )


def _series(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    names = dict.fromkeys(name for step in metrics for name in step)
    return {name: [_number(step.get(name)) for step in metrics] for name in names}


def _number(value: Any) -> float | None:
    """JSON has no NaN and no infinity: a metric that was not finite is not known."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def _seconds(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean seconds of a step by part, and what no part accounts for as "other"."""
    names = dict.fromkeys(name for step in metrics for name in step if name.startswith("seconds_"))
    means = {name.removeprefix("seconds_"): _mean(metrics, name) for name in names}
    whole = means.pop("step", 0.0)
    return {**means, "other": max(0.0, whole - sum(means.values()))} if means else {}


def _mean(metrics: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(_number(step.get(name)) or 0.0 for step in metrics) / len(metrics)
