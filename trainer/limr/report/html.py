"""Draws `results.json` as one self-contained page: no network, no script; light and dark; from a phone's width up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from limr.report import charts, figures, formats
from limr.report.comparison import BASE
from limr.report.figures import GROUP_COLOURS, MUTED
from limr.report.findings import about, focus, score
from limr.report.schema import Example, Results, Verdict
from limr.spec import Spec
from limr.stage import Ledger

FILTERS = ("percent", "points", "interval_percent", "interval_points", "count", "decimal", "duration", "printable")
PART_COLOURS = {
    "generation": "k0",
    "grading": "k4",
    "logprobs": "k5",
    "training": "k1",
    "sync": "k3",
    "writing": "k2",
    "evaluation": "k6",
}


@dataclass(frozen=True)
class Tile:
    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Share:
    """One part of a stage's mean step."""

    part: str
    css: str
    seconds: float
    share: float


def render(results: Results) -> str:
    """The whole page."""
    loader = jinja2.PackageLoader("limr.report", "page")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(formats, name) for name in FILTERS}
    times = _times(results)
    return environment.get_template("page.html.j2").render(
        results=results,
        colours=figures.colours(results.table),
        tiles=list(_tiles(results)),
        accuracy=figures.accuracy_figures(results),
        comparisons=figures.comparisons(results),
        probe=figures.probe_figures(results.probe, results.selections) if results.probe else [],
        histograms=figures.histogram_figures(results),
        examples=_examples(results),
        training=figures.training_figures(results),
        health=figures.health_figures(results),
        times=times,
        total=sum((stage.ledger for stage in results.stages if stage.ledger), Ledger()),
        parts=list(dict.fromkeys((share.part, share.css) for _, _, shares in times for share in shares)),
        card=list(_card(results)),
        spec=json.dumps(results.spec, indent=2, ensure_ascii=False),
    )


def _tiles(results: Results) -> Iterator[Tile]:
    """The few numbers to take along, about the arm that the experiment is about."""
    arm = focus(results.table)
    if arm is None:
        return
    chosen = next((selection for selection in results.selections if selection.arm == arm.name), None)
    if chosen and chosen.selected is not None:
        of_all = f"of {formats.count(chosen.prompts)}, by {chosen.strategy}"
        yield Tile("Prompts selected", formats.count(chosen.selected), of_all)
    if arm.benchmarks:
        own = score(arm)
        where = "average" if arm.average else next(iter(arm.benchmarks))
        base = next((f" · base {formats.percent(score(row).mean)}" for row in results.table if row.name == BASE), "")
        note = f"{formats.interval_percent(own)}{base}"
        yield Tile(f"{arm.name}, {where}", f"{formats.percent(own.mean)} %", note)
    for found in about(arm, results.differences):
        sure = "more than chance" if found.covers_seeds else "one seed each"
        words = "may be chance" if found.verdict is Verdict.OPEN else sure
        interval = formats.interval_points(found.interval)
        yield Tile(f"{arm.name} − {found.second}, points", formats.points(found.interval.mean), f"{interval}: {words}")
    if arm.device_hours is not None:
        after = (
            f"{formats.duration(arm.device_hours_with_probe)} with the probe" if arm.uses_probe else "no probe needed"
        )
        note = after if arm.device_hours_with_probe is not None else "the probe's cost is not known here"
        yield Tile("Device time", formats.duration(arm.device_hours), note)


def _examples(results: Results) -> list[tuple[Example, Markup]]:
    """Of the first selection that scored prompts, with their curves."""
    chosen = next((selection.examples for selection in results.selections if selection.examples), [])
    return [(e, charts.sparkline(e.accuracy, GROUP_COLOURS[e.group] if e.group else MUTED)) for e in chosen]


def _times(results: Results) -> list[tuple[str, float, list[Share]]]:
    """Of each stage that makes steps: its name, the seconds of a mean step and their parts."""
    times = []
    for stage in results.stages:
        whole = sum(stage.seconds.values())
        if whole:
            shares = [
                Share(part, PART_COLOURS.get(part, MUTED), seconds, seconds / whole)
                for part, seconds in stage.seconds.items()
            ]
            times.append((stage.name, whole, sorted(shares, key=_part_order)))
    return times


def _part_order(share: Share) -> int:
    return list(PART_COLOURS).index(share.part) if share.part in PART_COLOURS else len(PART_COLOURS)


def _card(results: Results) -> Iterator[tuple[str, str]]:
    """What was run, in the words of the spec; the whole spec is further down on the page."""
    spec = Spec.model_validate(results.spec)
    ppo, cluster = spec.ppo, spec.cluster
    yield "Model", results.provenance.model
    yield "Prompts", results.provenance.dataset
    rollouts = formats.count(ppo.prompts_per_step * ppo.samples_per_prompt)
    prompts = formats.count(ppo.prompts_per_step)
    yield "A step", f"{prompts} prompts × {ppo.samples_per_prompt} responses = {rollouts} rollouts"
    yield "Sampling", f"temperature {ppo.temperature:g}, at most {formats.count(ppo.max_response_tokens)} tokens"
    updates = f"{ppo.updates_per_step} updates a step of {formats.count(ppo.train_batch_size)} responses"
    yield "Training", f"{ppo.algorithm.upper()}, {updates}, learning rate {formats.short(ppo.actor_learning_rate)}"
    yield "KL penalty", f"{ppo.kl_coefficient:g} × {ppo.kl_estimator}"
    rewards = {"correct": spec.reward.correct, "wrong": spec.reward.wrong, "malformed": spec.reward.malformed}
    yield "Reward", ", ".join(f"{verdict} {formats.short(reward)}" for verdict, reward in rewards.items())
    if spec.selection.scores_from:
        yield "Probe", f"none: scores from {spec.selection.scores_from}"
    else:
        yield "Probe", f"{spec.probe.epochs} epochs, seed {spec.seed}"
    seeds = {arm.name: ", ".join(map(str, arm.seeds)) for arm in spec.arms if not arm.reuse_probe}
    yield "Training seeds", "; ".join(f"{arm}: {numbers}" for arm, numbers in seeds.items()) or "none"
    learner, rollout = cluster.learner, cluster.rollout
    engines = rollout.devices // rollout.tensor_parallel
    yield "Pods", f"{learner.replicas} with {learner.devices} learners, {rollout.replicas} with {engines} engines"
    yield "Precision", spec.model.dtype
