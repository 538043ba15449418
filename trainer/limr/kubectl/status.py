"""`limr status NAME`: an experiment on a cluster, for someone who wants to know quickly."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

from limr.kubectl.access import Cluster
from limr.kubectl.errors import Forbidden, Unreachable
from limr.kubectl.experiments import POLL_SECONDS, Experiment, find
from limr.kubectl.options import cluster_options, name_argument
from limr.kubectl.view import FINAL, plain_line, view
from limr.plan import Phase


@click.command()
@name_argument
@click.option("--watch", is_flag=True, help="Go on showing it until it is Complete or Failed (exit status 1).")
@cluster_options
def status(cluster: Cluster, name: str, watch: bool) -> None:
    """Show where an experiment on a cluster stands, and what wants attention."""
    if not watch:
        _show(cluster, find(cluster, name))
        return
    try:
        end = _on_terminal(cluster, name) if sys.stdout.isatty() else _in_lines(cluster, name)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if end.status.phase is Phase.FAILED else 0)


def _show(cluster: Cluster, experiment: Experiment) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(view(experiment, warnings(cluster, experiment), datetime.now(UTC), console.width))


def _on_terminal(cluster: Cluster, name: str) -> Experiment:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    experiment = find(cluster, name)
    with Live(console=console, auto_refresh=False) as live:
        silence = ""
        while True:
            events = [] if silence else warnings(cluster, experiment)
            shown = view(experiment, events, datetime.now(UTC), console.width)
            live.update(Text("\n").join([shown, *([Text(f"\n{silence}", "red")] if silence else [])]), refresh=True)
            if experiment.status.phase in FINAL:
                return experiment
            time.sleep(POLL_SECONDS)
            try:
                experiment, silence = find(cluster, name), ""
            except Unreachable as error:
                silence = silence or f"since {time.strftime('%X')}: {error}"


def _in_lines(cluster: Cluster, name: str) -> Experiment:
    """A line for each change, and the whole at the end."""
    experiment, said = find(cluster, name), ""
    while True:
        line = plain_line(experiment.status)
        if line != said:
            click.echo(f"{time.strftime('%X')} {line}")
            said = line
        if experiment.status.phase in FINAL:
            click.echo()
            _show(cluster, experiment)
            return experiment
        time.sleep(POLL_SECONDS)
        try:
            experiment = find(cluster, name)
        except Unreachable as error:
            click.echo(f"{time.strftime('%X')} {error}", err=True)


def warnings(cluster: Cluster, experiment: Experiment) -> list[dict[str, Any]]:
    """Events of type Warning; none where they may not be read, because the rest is worth showing."""
    uid = experiment.manifest["metadata"]["uid"]
    selector = f"involvedObject.uid={uid},type=Warning"
    try:
        events: list[dict[str, Any]] = cluster.get("events", f"--field-selector={selector}")["items"]
    except (Forbidden, Unreachable):
        return []
    return events
