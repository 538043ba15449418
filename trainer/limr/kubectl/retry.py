"""`limr retry NAME [STAGE]`: fresh tries for what failed."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from limr.errors import LimrError
from limr.kubectl.access import Cluster
from limr.kubectl.experiments import RESOURCE, Experiment, find, listed
from limr.kubectl.options import cluster_options, name_argument, stage_argument
from limr.plan import StageState, StageStatus, is_held, retry_request
from limr.plan.retry import ANNOTATION, EVERY


@click.command()
@name_argument
@stage_argument
@cluster_options
def retry(cluster: Cluster, name: str, stage: str | None) -> None:
    """Try failed stages again, with as many attempts as spec.limits.attempts says. Without STAGE: all of them."""
    stages = retried(find(cluster, name), stage)
    request = retry_request(stage or EVERY, datetime.now(UTC))
    cluster.patch(RESOURCE, name, {"metadata": {"annotations": {ANNOTATION: request}}})
    click.echo(f"{name}: fresh tries for {listed(stages)}; see: limr status {name}")


def retried(experiment: Experiment, stage: str | None) -> list[str]:
    """The stages that will be tried again. Raises LimrError when none would."""
    if stage is None:
        names = [name for name, found in experiment.status.stages.items() if _can_be_retried(found)]
        if not names:
            raise LimrError(f"{experiment.name}: no stage has failed; see: limr status {experiment.name}")
        return names
    found = experiment.stage(stage)
    if not _can_be_retried(found):
        words = f" ({found.message}): retry that one" if found.state is StageState.BLOCKED else ""
        raise LimrError(f"{stage} is {found.state}{words}; only what has failed can be tried again")
    return [stage]


def _can_be_retried(stage: StageStatus) -> bool:
    """Also what waits for its next attempt, or for a person: it need not wait then."""
    waits = stage.state is StageState.PENDING and (stage.retry_at is not None or is_held(stage))
    return waits or stage.state is StageState.FAILED
