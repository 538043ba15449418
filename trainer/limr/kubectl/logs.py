"""`limr logs NAME [STAGE]`: what a stage printed."""

from __future__ import annotations

import sys

import click

from limr.config_map_keys import POD
from limr.errors import LimrError
from limr.kubectl.access import Cluster, shown, translated
from limr.kubectl.errors import NoSuchObject
from limr.kubectl.experiments import Experiment, find, listed
from limr.kubectl.options import cluster_options, name_argument, stage_argument
from limr.log_lines import timed
from limr.plan import ACTIVE, Child, StageStatus, child_name

CONTAINER = "limr"  # as the operator names it


@click.command()
@name_argument
@stage_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints from now on.")
@click.option("--tail", type=click.IntRange(min=0), help="Only so many of the last lines.")
@click.option("--raw", is_flag=True, help="As it was written: a JSON object a line.")
@cluster_options
def logs(cluster: Cluster, name: str, stage: str | None, follow: bool, tail: int | None, raw: bool) -> None:
    """Print the log of a stage's latest attempt (times in UTC). Without STAGE: the one at work, or that failed."""
    experiment = find(cluster, name)
    stage = stage or stage_at_work(experiment)
    pod = pod_of(cluster, experiment, stage)
    options = [*(["--follow"] if follow else []), *([f"--tail={tail}"] if tail is not None else [])]
    command = cluster.command("logs", pod, f"--container={CONTAINER}", *options)
    sys.exit(shown(command) if raw else translated(command, timed))


def stage_at_work(experiment: Experiment) -> str:
    """The one that STAGE of `kubectl get limr` names."""
    stage = experiment.status.stage.partition(" ")[0]
    if stage:
        return stage
    names = [name for name, stage in experiment.status.stages.items() if stage.attempt]
    begun = f"name one of {listed(names)}" if names else "none has begun"
    raise LimrError(f"{experiment.name} is {experiment.status.phase} and no stage is at work; {begun}")


def pod_of(cluster: Cluster, experiment: Experiment, name: str) -> str:
    """The Pod in which the latest attempt runs, or ran. Raises LimrError when there is none, and says why."""
    stage = experiment.stage(name)
    if not stage.attempt:
        raise LimrError(f"{name} has not begun: it is {stage.state}{_words(stage)}; nothing was printed")
    attempt = f"{name}, attempt {stage.attempt}"
    channel = child_name(experiment.name, Child(name, stage.attempt))
    try:
        data = cluster.get("configmap", channel).get("data") or {}
    except NoSuchObject:
        data = {}
    if POD not in data:
        raise LimrError(f"{attempt}: no Pod has begun to work: it is {stage.state}{_words(stage)}")
    try:
        cluster.get("pod", data[POD])
    except NoSuchObject:
        raise LimrError(
            f"{attempt}: its Pod {data[POD]} is gone, and its log with it; {_what_is_known(stage)}. Your cluster's log "
            f"collector may have the log: look for Pod {data[POD]} in namespace {experiment.namespace}"
            + "".join(f"\n  | {line}" for line in stage.last_lines)
        ) from None
    return str(data[POD])


def _what_is_known(stage: StageStatus) -> str:
    if stage.state in ACTIVE:
        return f"the stage is {stage.state}{_words(stage)}"
    return f"the stage is {stage.state} since {stage.finished_at:%Y-%m-%d %H:%M:%S} UTC{_words(stage)}"


def _words(stage: StageStatus) -> str:
    words = ": ".join(filter(None, (stage.reason, stage.message)))
    return f" ({words})" if words else ""
