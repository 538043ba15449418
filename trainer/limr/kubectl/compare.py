"""`limr compare A B`: what two experiments differ in, what came of it, and what can be claimed."""

from __future__ import annotations

from dataclasses import replace

import click

from limr.errors import LimrError
from limr.kubectl.access import Cluster
from limr.kubectl.artifacts import Artifacts, opened
from limr.kubectl.comparison import Side, comparison
from limr.kubectl.experiments import find
from limr.kubectl.options import cluster_options, experiment_argument
from limr.plan import StageState
from limr.report.reading import evaluation, prompt_ids
from limr.stage import StageKind

WIDTH = 80


@click.command()
@experiment_argument("a")
@experiment_argument("b")
@cluster_options
def compare(cluster: Cluster, a: str, b: str) -> None:
    """Compare two experiments: specs, selected prompts, device-hours, accuracies, and which differences can be claimed.

    A and B are names; one in another namespace is written NAMESPACE/NAME.
    """
    if a == b:
        raise LimrError(f"{a} is compared with itself; name two experiments")
    click.echo(comparison(_side(cluster, a), _side(cluster, b), WIDTH))


def _side(cluster: Cluster, name: str) -> Side:
    namespace, _, own = name.rpartition("/")
    there = replace(cluster, namespace=namespace) if namespace else cluster
    experiment = find(there, own)
    finished = {
        stage: found.kind for stage, found in experiment.status.stages.items() if found.state is StageState.SUCCEEDED
    }
    selections = [stage for stage, kind in finished.items() if kind is StageKind.SELECTION]
    evaluations = [stage for stage, kind in finished.items() if kind is StageKind.EVALUATION]
    if not selections and not evaluations:
        return Side(experiment, name, {}, None)
    with opened(there, experiment) as artifacts:
        subsets = {stage.removeprefix("select-"): prompt_ids(_subset(artifacts, stage)) for stage in selections}
        answers = [evaluation(artifacts.read(stage, "results")) for stage in evaluations]
    return Side(experiment, name, subsets, answers[0] if answers else None)


def _subset(artifacts: Artifacts, stage: str) -> bytes:
    """Where the strategy draws, each seed has one of its own: the first."""
    outputs = artifacts.experiment.stage(stage).outputs
    return artifacts.read(stage, next((name for name in outputs if name.startswith("subset")), "subset"))
