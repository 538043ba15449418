"""`limr suspend NAME` and `limr resume NAME`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from limr.errors import LimrError
from limr.kubectl.access import Cluster
from limr.kubectl.experiments import RESOURCE, Experiment, find, wait
from limr.kubectl.options import cluster_options, name_argument, waiting_options
from limr.kubectl.sparkline import short_duration
from limr.kubectl.view import FINAL, plain_line
from limr.plan import Phase, is_held, retry_request
from limr.plan.retry import ANNOTATION

STOPPED = (Phase.SUSPENDING, Phase.SUSPENDED)


@click.command()
@name_argument
@waiting_options
@cluster_options
def suspend(cluster: Cluster, name: str, waits: bool, timeout: float) -> None:
    """Stop an experiment within a minute, with checkpoints, and free its machines."""
    _set(cluster, name, True)
    if waits:
        _wait(cluster, name, lambda seen: seen.status.phase is Phase.SUSPENDED, timeout, "suspended")
    click.echo(f"{name} is suspended" if waits else f"{name} stops within a minute; see: limr status {name}")


@click.command()
@name_argument
@waiting_options
@cluster_options
def resume(cluster: Cluster, name: str, waits: bool, timeout: float) -> None:
    """Let a suspended experiment go on at the step that it stopped at, also one that a guard has suspended."""
    _set(cluster, name, False)
    if waits:
        _wait(cluster, name, lambda seen: seen.status.phase not in STOPPED, timeout, "resumed")
    click.echo(f"{name} goes on")


def _set(cluster: Cluster, name: str, suspended: bool) -> None:
    experiment = find(cluster, name)
    if experiment.status.phase in FINAL:
        raise LimrError(f"{name} is {experiment.status.phase}: there is nothing to {'stop' if suspended else 'resume'}")
    change: dict[str, Any] = {"spec": {"schedule": {"suspend": suspended}}}
    if not suspended and (held := _held(experiment)):
        change["metadata"] = {"annotations": {ANNOTATION: retry_request(held, datetime.now(UTC))}}
    cluster.patch(RESOURCE, name, change)


def _held(experiment: Experiment) -> str | None:
    """A stage that a guard has ended; with it go on the others that wait for a person."""
    guarded = experiment.status.condition("Guarded")
    if experiment.status.phase in STOPPED and guarded and guarded.reason == "BudgetSpent":
        raise LimrError(f"{experiment.name}: {guarded.message}")
    return next((name for name, stage in experiment.status.stages.items() if is_held(stage)), None)


def _wait(cluster: Cluster, name: str, holds: Callable[[Experiment], bool], seconds: float, what: str) -> None:
    """Until the operator has seen the change and `holds`, or the experiment has ended meanwhile."""

    def done(seen: Experiment) -> bool:
        return seen.seen and (holds(seen) or seen.status.phase in FINAL)

    experiment = wait(cluster, name, done, seconds)
    if not done(experiment):
        reason = plain_line(experiment.status) if experiment.seen else "no operator has seen the change: is it running?"
        raise LimrError(f"{name} is not {what} after {short_duration(seconds)}: {reason}")
    if not holds(experiment):
        raise LimrError(f"{name} is {experiment.status.phase}: it ended before it was {what}")
