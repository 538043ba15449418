"""`limr run FILE`: the whole experiment on this machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from limr.errors import LimrError
from limr.local.children import STAGE_COMMAND
from limr.local.folder import RunFolder
from limr.local.interrupts import Interrupts
from limr.local.ray_cluster import RayCluster
from limr.local.run import Engines, run_experiment
from limr.local.summary import summary
from limr.local.view import PlainView, View
from limr.plan import TRAINING_DID_HARM, Phase, StageState, Status
from limr.store.layout import REPORT, in_stage
from limr.validate import load_for_run
from limr.validate.options import file_argument, set_option, workdir_option


@click.command()
@file_argument
@workdir_option
@set_option
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Serve Prometheus metrics of probe, trainings and evaluation on this port of 127.0.0.1. Default: not.",
)
def run(file: Path, workdir: Path, overrides: tuple[str, ...], metrics_port: int | None) -> None:
    """Run an experiment on this machine, or go on where it stopped.

    Ctrl-C stops it after a checkpoint; running the same command again goes on.
    """
    command = [*STAGE_COMMAND, *(["--metrics-port", str(metrics_port)] if metrics_port else [])]
    sys.exit(execute(file, workdir, overrides, command))


def execute(
    file: Path,
    workdir: Path,
    overrides: tuple[str, ...],
    stage_command: Sequence[str] = STAGE_COMMAND,
    engines: Callable[[RunFolder], Engines] | None = None,
) -> int:
    """The exit status: 0 when complete, 130 after Ctrl-C. Raises LimrError with what a person must know or mend."""
    experiment = load_for_run(file, overrides, workdir)
    if experiment.spec.schedule.suspend:
        raise LimrError(f"{file}: spec.schedule.suspend: is true, so nothing may run; write false")
    folder = RunFolder(experiment, workdir)
    again = _same_command(file, workdir, overrides)
    with folder.locked(), Interrupts() as interrupts:
        cluster = engines(folder) if engines else RayCluster(folder.ray_log, folder.ray_link)
        try:
            status = run_experiment(experiment, folder, _view(), interrupts, cluster, stage_command)
        except KeyboardInterrupt:
            click.echo(f"Stopped at once; what followed the last checkpoint is redone. To go on: {again}")
            return 130
    if status.phase is Phase.FAILED:
        raise LimrError(_failure(status, folder, again))
    if status.phase is Phase.SUSPENDED and not interrupts.received:
        raise LimrError(_guarded(status, again))
    if status.phase is Phase.SUSPENDED:
        click.echo(f"Stopped. To go on: {again}")
        return 128 + (interrupts.received or 0)
    complete = status.condition("Complete")
    if complete is not None and complete.reason == TRAINING_DID_HARM:
        click.echo(complete.message)
    for line in summary(status.results, f"{folder.root}/{in_stage('report', REPORT)}"):
        click.echo(line)
    return 0


def _failure(status: Status, folder: RunFolder, again: str) -> str:
    failed = next(condition.sentence for condition in status.conditions if condition.type == "Failed")
    blocked = [name for name, stage in status.stages.items() if stage.state is StageState.BLOCKED]
    without = f" (not run: {', '.join(blocked)})" if blocked else ""
    return f"{failed}{without}\nLogs: {folder.path / 'logs'}. Finished stages are kept; to try again: {again}"


def _guarded(status: Status, again: str) -> str:
    guarded = next(condition.message for condition in status.conditions if condition.type == "Guarded")
    return f"{guarded}\nWhat is done is kept; to go on: {again}"


def _same_command(file: Path, workdir: Path, overrides: tuple[str, ...]) -> str:
    where = [] if workdir == Path(".") else ["--workdir", str(workdir)]
    settings = [word for override in overrides for word in ("--set", override)]
    return shlex.join(["limr", "run", str(file), *where, *settings])


def _view() -> View:
    if not sys.stdout.isatty():
        return PlainView()
    from rich.console import Console

    from limr.local.terminal import TerminalView

    return TerminalView(Console())
