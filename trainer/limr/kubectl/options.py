"""Arguments and flags of the commands that speak to a cluster, as kubectl has them, and how they are completed."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from limr.errors import LimrError

COMPLETION_SECONDS = 5.0
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command` a Cluster as its first argument."""

    @click.option("-n", "--namespace", help="Default: the namespace of the kubeconfig's context.")
    @click.option("--context", help="Context of the kubeconfig. Default: the current one.")
    @click.option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG or ~/.kube/config.")
    @wraps(command)
    def with_cluster(namespace: str | None, context: str | None, kubeconfig: str | None, **others: Any) -> Any:
        from limr.kubectl.access import Cluster

        return command(Cluster(namespace, context, kubeconfig), **others)

    return with_cluster


def _experiments(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from limr.kubectl.access import Cluster
    from limr.kubectl.experiments import RESOURCE

    found = context.params
    cluster = Cluster(found.get("namespace"), found.get("context"), found.get("kubeconfig"))
    try:
        names = cluster.names(RESOURCE, COMPLETION_SECONDS)
    except LimrError:  # nobody reads errors between two presses of the tab key
        return []
    return [name for name in names if name.startswith(incomplete)]


def _stages(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from limr.kubectl.access import Cluster
    from limr.kubectl.experiments import find

    found = context.params
    cluster = Cluster(found.get("namespace"), found.get("context"), found.get("kubeconfig"))
    try:
        stages = find(cluster, found.get("name") or "").status.stages
    except LimrError:
        return []
    return [name for name in stages if name.startswith(incomplete)]


name_argument = click.argument("name", shell_complete=_experiments)
stage_argument = click.argument("stage", required=False, shell_complete=_stages)


def experiment_argument(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.argument(name, shell_complete=_experiments)


def _seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
    found = _DURATION.fullmatch(text)
    if not text or not found:
        raise click.BadParameter(f"{text!r} is no time; write for example 30s, 10m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def waiting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`waits`, and `timeout` in seconds."""
    command = click.option("--timeout", callback=_seconds, default="10m", show_default=True, help="Of --wait.")(command)
    return click.option("--wait", "waits", is_flag=True, help="Return when it has happened.")(command)
